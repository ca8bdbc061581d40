// DLPack: an array handed out to another library, which takes it where it lies.
#pragma once

#include <pybind11/pybind11.h>

#include <cstdint>
#include <vector>

namespace moue {

// A capsule in DLPack's first form. The array is in C order; kind and place are DLPack's codes of
// an item's type and of a device's. Its owner is let go of once whoever took it is done with it, or
// with the capsule where nobody has.
pybind11::capsule dlpack(uintptr_t address, std::vector<int64_t> shape, uint8_t kind, uint8_t bits,
                         int32_t place, int32_t index, pybind11::object owner);

}  // namespace moue

// What CUDA finds on this machine.
#pragma once

#include <string>
#include <vector>

namespace moue {

// One line per device, in CUDA's order. Throws std::runtime_error with the reason if there is none.
std::vector<std::string> cuda_devices();

}  // namespace moue

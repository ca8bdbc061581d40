// What CUDA finds on this machine.
#pragma once

#include <string>
#include <vector>

namespace moue {

// One line per device, in CUDA's order. Throws std::runtime_error with the reason if there is none.
std::vector<std::string> cuda_devices();

// Throws std::runtime_error where the kernels of this build do not run on the device, which becomes
// the calling thread's.
void check_cuda(int device);

}  // namespace moue

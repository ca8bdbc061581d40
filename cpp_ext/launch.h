// What every launcher needs.
#pragma once

#include <cuda_runtime.h>

#include <stdexcept>
#include <string>

namespace moue {

inline int blocks(int64_t work, int threads) {
  return static_cast<int>((work + threads - 1) / threads);
}

inline void check_launch(const char* kernel) {
  if (const cudaError_t status = cudaGetLastError(); status != cudaSuccess)
    throw std::runtime_error(std::string(kernel) + ": " + cudaGetErrorString(status));
}

}  // namespace moue

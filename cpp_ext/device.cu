#include <cuda_runtime_api.h>

#include <stdexcept>

#include "device.h"

namespace moue {
namespace {

void check(cudaError_t status) {
  if (status != cudaSuccess) throw std::runtime_error(cudaGetErrorString(status));
}

}  // namespace

std::vector<std::string> cuda_devices() {
  int count = 0;
  check(cudaGetDeviceCount(&count));
  std::vector<std::string> devices;
  for (int i = 0; i < count; ++i) {
    cudaDeviceProp device;
    check(cudaGetDeviceProperties(&device, i));
    devices.push_back(std::string(device.name) + " (compute capability " +
                      std::to_string(device.major) + "." + std::to_string(device.minor) + ")");
  }
  return devices;
}

}  // namespace moue

#include <cuda_runtime_api.h>

#include <stdexcept>

#include "device.h"

namespace moue {
namespace {

void check(cudaError_t status) {
  if (status != cudaSuccess) throw std::runtime_error(cudaGetErrorString(status));
}

// CUDA's versions are 1000 times the major and 10 times the minor number.
std::string version(int number) {
  return std::to_string(number / 1000) + "." + std::to_string(number % 1000 / 10);
}

void check_driver(cudaError_t status) {
  if (status != cudaErrorInsufficientDriver) return check(status);
  int driver = 0;
  cudaDriverGetVersion(&driver);
  if (!driver) throw std::runtime_error("there is no NVIDIA driver");
  throw std::runtime_error("the driver speaks CUDA " + version(driver) +
                           ", this moue was built by nvcc " + version(CUDART_VERSION) +
                           ": update the driver, or install moue anew with an nvcc no newer than it");
}

__global__ void probe() {}  // compiled for the same architectures as all others

}  // namespace

void check_cuda(int device) {
  check(cudaSetDevice(device));
  cudaFuncAttributes attributes;
  const cudaError_t status = cudaFuncGetAttributes(&attributes, probe);
  cudaGetLastError();  // told here, and not by the next launch
  if (status != cudaSuccess)
    throw std::runtime_error("this moue's kernels were not built for cuda:" + std::to_string(device) +
                             " (" + cudaGetErrorString(status) +
                             "); install it anew with an nvcc that knows this GPU");
}

std::vector<std::string> cuda_devices() {
  int count = 0;
  check_driver(cudaGetDeviceCount(&count));
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

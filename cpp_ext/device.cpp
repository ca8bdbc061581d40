// What stands in for the CUDA files where there is no nvcc.
#include "device.h"

#include <stdexcept>

#include "compose_device.h"
#include "preprocess_device.h"
#include "skip_sum_device.h"

namespace moue {
namespace {

[[noreturn]] void refuse() {
  throw std::runtime_error(
      "this moue was built without CUDA: put nvcc on PATH and install it anew");
}

}  // namespace

std::vector<std::string> cuda_devices() { refuse(); }
void check_cuda(int) { refuse(); }
void skip_sum_on_device(const SkipSum&, void*) { refuse(); }
void compose_on_device(const Cells&, const Blend&, void*) { refuse(); }
void preprocess_on_device(const Preprocess&, void*) { refuse(); }

}  // namespace moue

#include "device.h"

#include <stdexcept>

namespace moue {

std::vector<std::string> cuda_devices() {
  throw std::runtime_error("this moue was built without CUDA");
}

}  // namespace moue

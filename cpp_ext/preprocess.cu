#include "launch.h"
#include "preprocess_device.h"

namespace moue {
namespace {

constexpr int kColumns = 32, kRows = 4;

template <int kPixel>
__global__ void __launch_bounds__(kColumns * kRows) crop(const __grid_constant__ Preprocess p) {
  const int i = static_cast<int>(blockIdx.y * kRows + threadIdx.y);
  const int j = static_cast<int>(blockIdx.x * kColumns + threadIdx.x);
  if (i < p.size && j < p.size) crop_pixel<kPixel>(p, i, j);
}

}  // namespace

void preprocess_on_device(const Preprocess& p, void* stream) {
  const auto queue = static_cast<cudaStream_t>(stream);
  const dim3 grid(blocks(p.size, kColumns), blocks(p.size, kRows)), block(kColumns, kRows);
  if (p.pixel == 4)
    crop<4><<<grid, block, 0, queue>>>(p);
  else
    crop<3><<<grid, block, 0, queue>>>(p);
  check_launch("preprocess");
}

}  // namespace moue

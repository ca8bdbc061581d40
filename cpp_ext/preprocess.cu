#include "launch.h"
#include "preprocess_device.h"

namespace moue {
namespace {

constexpr int kColumns = 32, kRows = 4;

template <class Out, int kPixel>
__global__ void __launch_bounds__(kColumns * kRows) crop(const __grid_constant__ Preprocess p) {
  const int i = static_cast<int>(blockIdx.y * kRows + threadIdx.y);
  const int j = static_cast<int>(blockIdx.x * kColumns + threadIdx.x);
  if (i < p.size && j < p.size) crop_pixel<Out, kPixel>(p, i, j);
}

template <class Out>
void launch_crop(const Preprocess& p, cudaStream_t queue) {
  const dim3 grid(blocks(p.size, kColumns), blocks(p.size, kRows)), block(kColumns, kRows);
  if (p.pixel == 4)
    crop<Out, 4><<<grid, block, 0, queue>>>(p);
  else
    crop<Out, 3><<<grid, block, 0, queue>>>(p);
}

}  // namespace

void preprocess_on_device(const Preprocess& p, bool half, void* stream) {
  const auto queue = static_cast<cudaStream_t>(stream);
  half ? launch_crop<Half>(p, queue) : launch_crop<float>(p, queue);
  check_launch("preprocess");
}

}  // namespace moue

#include "launch.h"
#include "skip_sum_device.h"

namespace moue {
namespace {

constexpr int kThreads = 128;
constexpr int kWarp = 32;

// The actions that any of `kFrames` frames has, in order, so that every run sums in the same order.
template <int kFrames>
__device__ int gather(const SkipSum& p, int frame, Weighted* weights) {
  __shared__ int found;
  if (threadIdx.x < kWarp) {
    int count = 0;
    for (int first = 0; first < p.n; first += kWarp) {
      const auto weighted =
          weights_of<kFrames>(p, frame, first + static_cast<int>(threadIdx.x));
      const unsigned votes = __ballot_sync(~0u, weighted.any());
      if (weighted.any()) weights[count + __popc(votes & ((1u << threadIdx.x) - 1))] = weighted;
      count += __popc(votes);
    }
    if (threadIdx.x == 0) found = count;
  }
  __syncthreads();
  return found;
}

template <int kFrames>
__global__ void __launch_bounds__(kThreads) sum_levels(const __grid_constant__ SkipSum p) {
  __shared__ Weighted weights[kMostActions];
  const int frame = static_cast<int>(blockIdx.y) * kFrames;
  const int64_t at = (int64_t{blockIdx.x} * kThreads + threadIdx.x) * kWide;
  const bool inside = at < p.begin[p.levels];
  Halves base = {};
  if (inside) base = load(p.base + at);  // on its way while the weights are gathered
  const int count = gather<kFrames>(p, frame, weights);
  if (inside) sum_skips<kFrames>(p, at, base, frame, weights, count);
}

template <int kFrames>
void launch_sum(const SkipSum& p, cudaStream_t queue) {
  const dim3 grid(blocks(p.begin[p.levels] / kWide, kThreads), blocks(p.frames, kFrames));
  sum_levels<kFrames><<<grid, kThreads, 0, queue>>>(p);
}

}  // namespace

void skip_sum_on_device(const SkipSum& p, void* stream) {
  const auto queue = static_cast<cudaStream_t>(stream);
  p.frames == 1 ? launch_sum<1>(p, queue) : launch_sum<kAtATime>(p, queue);
  check_launch("skip_sum");
}

}  // namespace moue

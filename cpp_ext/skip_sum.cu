#include "launch.h"
#include "skip_sum_device.h"

namespace moue {
namespace {

constexpr int kThreads = 128;
constexpr int kWarp = 32;

// The frame's weights that are not zero, in order, so that every run sums in the same order.
__device__ int gather(const float* actions, int n, Weight* weights) {
  __shared__ int found;
  if (threadIdx.x < kWarp) {
    int count = 0;
    for (int first = 0; first < n; first += kWarp) {
      const int action = first + static_cast<int>(threadIdx.x);
      const float weight = action < n ? actions[action] : 0;
      const unsigned votes = __ballot_sync(~0u, weight != 0);
      if (weight != 0)
        weights[count + __popc(votes & ((1u << threadIdx.x) - 1))] = {weight, action};
      count += __popc(votes);
    }
    if (threadIdx.x == 0) found = count;
  }
  __syncthreads();
  return found;
}

template <int kWide>
__global__ void __launch_bounds__(kThreads) sum_levels(const __grid_constant__ SkipSum p) {
  __shared__ Weight weights[kMostActions];
  const int frame = static_cast<int>(blockIdx.y);
  const int count = gather(p.actions + int64_t{frame} * p.n, p.n, weights);
  const int64_t at = (int64_t{blockIdx.x} * kThreads + threadIdx.x) * kWide;
  if (at < p.begin[p.levels]) sum_skips<kWide>(p, at, frame, weights, count);
}

}  // namespace

void skip_sum_on_device(const SkipSum& p, void* stream) {
  const auto queue = static_cast<cudaStream_t>(stream);
  const int64_t total = p.begin[p.levels];
  const auto frames = static_cast<unsigned>(p.frames);
  if (width_of(p) == 8)
    sum_levels<8><<<dim3(blocks(total / 8, kThreads), frames), kThreads, 0, queue>>>(p);
  else
    sum_levels<1><<<dim3(blocks(total, kThreads), frames), kThreads, 0, queue>>>(p);
  check_launch("skip_sum");
}

}  // namespace moue

// As much of CUDA as cpp_ext's kernels use, on the host: a thread for each of a block's threads, one
// block after another. Tries out launch sizes and what the threads of a block do together.
#pragma once

#include <atomic>
#include <barrier>
#include <cstdint>
#include <memory>
#include <thread>
#include <vector>

#define __global__
#define __device__
#define __launch_bounds__(threads)
#define __grid_constant__
#define __shared__ static

struct dim3 {
  unsigned x, y, z;
  template <class X = unsigned, class Y = unsigned, class Z = unsigned>
  dim3(X a = 1, Y b = 1, Z c = 1)
      : x(static_cast<unsigned>(a)), y(static_cast<unsigned>(b)), z(static_cast<unsigned>(c)) {}
};

inline thread_local dim3 threadIdx, blockIdx;
inline std::unique_ptr<std::barrier<>> whole_block, first_warp;
inline std::atomic<unsigned> ballot;
inline std::atomic<bool> any_of_block;

inline void __syncthreads() { whole_block->arrive_and_wait(); }

inline unsigned __ballot_sync(unsigned, bool vote) {  // of the first warp, by all of it
  first_warp->arrive_and_wait();
  if (threadIdx.x == 0) ballot = 0;
  first_warp->arrive_and_wait();
  if (vote) ballot |= 1u << threadIdx.x;
  first_warp->arrive_and_wait();
  return ballot;
}

inline int __syncthreads_or(int vote) {
  __syncthreads();
  if (threadIdx.x == 0 && threadIdx.y == 0) any_of_block = false;
  __syncthreads();
  if (vote) any_of_block = true;
  __syncthreads();
  return any_of_block;
}

inline int __popc(unsigned bits) { return __builtin_popcount(bits); }

using cudaStream_t = void*;
enum cudaError_t { cudaSuccess };
inline cudaError_t cudaGetLastError() { return cudaSuccess; }
inline const char* cudaGetErrorString(cudaError_t) { return ""; }

template <class Kernel>
void launch(dim3 grid, dim3 block, const Kernel& kernel) {
  const unsigned threads = block.x * block.y * block.z;
  for (unsigned z = 0; z < grid.z; ++z)
    for (unsigned y = 0; y < grid.y; ++y)
      for (unsigned x = 0; x < grid.x; ++x) {
        whole_block = std::make_unique<std::barrier<>>(threads);
        first_warp = std::make_unique<std::barrier<>>(32);
        std::vector<std::jthread> running;
        for (unsigned k = 0; k < threads; ++k)
          running.emplace_back([=, &kernel] {
            blockIdx = dim3(x, y, z);
            threadIdx = dim3(k % block.x, k / block.x % block.y, k / (block.x * block.y));
            kernel();
          });
      }
}

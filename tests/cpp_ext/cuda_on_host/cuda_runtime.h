// As much of CUDA as cpp_ext's kernels use, on the host: a thread for each of a block's threads, one
// block after another. Tries out launch sizes, what the threads of a block do together, and the
// arithmetic that is written for a device alone. Included before all else, with __CUDA_ARCH__ defined.
#pragma once

#include <math.h>

#include <atomic>
#include <barrier>
#include <cstdint>
#include <cstring>
#include <memory>
#include <thread>
#include <vector>

#include "half.h"

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
inline std::unique_ptr<std::barrier<>> whole_block;
inline std::vector<std::unique_ptr<std::barrier<>>> warps;
inline thread_local std::barrier<>* own_warp;
inline std::atomic<unsigned> ballot;
inline std::atomic<bool> any_of_block;

#define __builtin_assume(holds) ((void)(holds))
inline bool __isGlobal(const void*) { return true; }

inline void __syncthreads() { whole_block->arrive_and_wait(); }
inline void __syncwarp() { own_warp->arrive_and_wait(); }

inline unsigned __ballot_sync(unsigned, bool vote) {  // of the first warp, by all of it
  __syncwarp();
  if (threadIdx.x == 0) ballot = 0;
  __syncwarp();
  if (vote) ballot |= 1u << threadIdx.x;
  __syncwarp();
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

struct __half {
  uint16_t bits;
};
inline __half __ushort_as_half(uint16_t bits) { return {bits}; }
inline uint16_t __half_as_ushort(__half half) { return half.bits; }
inline float __half2float(__half half) { return moue::value(moue::Half{half.bits}); }
inline __half __float2half_rn(float x) { return {moue::rounded(x).bits}; }

struct alignas(16) uint4 {
  uint32_t x, y, z, w;
};
inline void __stwb(uint4* to, uint4 word) { *to = word; }
inline int __float2int_rd(float x) { return static_cast<int>(floorf(x)); }
inline float __uint_as_float(uint32_t bits) {
  float x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}
inline uint32_t __byte_perm(uint32_t low, uint32_t high, uint32_t selector) {
  const uint64_t bytes = uint64_t{high} << 32 | low;
  uint32_t picked = 0;
  for (int k = 0; k < 4; ++k) picked |= (bytes >> 8 * (selector >> 4 * k & 7) & 0xff) << 8 * k;
  return picked;
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
        warps.clear();
        for (unsigned first = 0; first < threads; first += 32)
          warps.push_back(std::make_unique<std::barrier<>>(32));
        std::vector<std::jthread> running;
        for (unsigned k = 0; k < threads; ++k)
          running.emplace_back([=, &kernel] {
            own_warp = warps[k / 32].get();
            blockIdx = dim3(x, y, z);
            threadIdx = dim3(k % block.x, k / block.x % block.y, k / (block.x * block.y));
            kernel();
          });
      }
}

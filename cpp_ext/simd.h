// Code in several versions, for the oldest processor and for newer ones; the loader takes the best.
#pragma once

#include <cstdint>
#include <cstring>

// Elsewhere than on x86 the baseline has its SIMD already (NEON on aarch64).
#if defined(__x86_64__) && defined(__gnu_linux__) && defined(__GNUC__) && !defined(__clang__)
#define MOUE_VERSIONS __attribute__((target_clones("avx512f", "avx2", "default")))
#define MOUE_VERSIONS_BY_HAND  // functions of one name, each for its own __attribute__((target))
#else
#define MOUE_VERSIONS
#endif

// Becomes part of whichever version it is called from.
#define MOUE_INLINE inline __attribute__((always_inline))

// As many floats as the oldest processor that the code is compiled for has side by side.
#if defined(__AVX512F__)
inline constexpr int kBaseline = 16;
#elif defined(__AVX2__)
inline constexpr int kBaseline = 8;
#else
inline constexpr int kBaseline = 4;
#endif

// N lanes of whatever SIMD there is.
template <int N>
struct Lanes;
template <>
struct Lanes<4> {
  using Float = float __attribute__((vector_size(16)));
  using Int = int32_t __attribute__((vector_size(16)));
};
template <>
struct Lanes<8> {
  using Float = float __attribute__((vector_size(32)));
  using Int = int32_t __attribute__((vector_size(32)));
};
template <>
struct Lanes<16> {
  using Float = float __attribute__((vector_size(64)));
  using Int = int32_t __attribute__((vector_size(64)));
};

// N numbers in a row, dealt out: lane k gets from[at[k]].
template <int N>
MOUE_INLINE void deal(const float* from, const typename Lanes<N>::Int& at,
                      typename Lanes<N>::Float& out) {
#ifdef __clang__
  for (int k = 0; k < N; ++k) out[k] = from[at[k]];
#else
  typename Lanes<N>::Float row;
  std::memcpy(&row, from, sizeof row);
  out = __builtin_shuffle(row, at);
#endif
}

// Code in several versions, for the oldest processor and for newer ones; the loader takes the best.
#pragma once

#include <cstdint>

// Elsewhere than on x86 the baseline has its SIMD already (NEON on aarch64).
#if defined(__x86_64__) && defined(__gnu_linux__) && defined(__GNUC__) && !defined(__clang__)
#define MOUE_VERSIONS __attribute__((target_clones("avx512f", "avx2", "default")))
#define MOUE_VERSIONS_BY_HAND  // functions of one name, each for its own __attribute__((target))
#else
#define MOUE_VERSIONS
#endif

// Becomes part of whichever version it is called from.
#define MOUE_INLINE inline __attribute__((always_inline))

// Eight lanes out of the sixteen of a and b, which are counted on.
using Float8 = float __attribute__((vector_size(32)));
using Int8 = int32_t __attribute__((vector_size(32)));
#ifdef __clang__
#define MOUE_SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define MOUE_SHUFFLE(a, b, ...) __builtin_shuffle(a, b, Int8{__VA_ARGS__})
#endif

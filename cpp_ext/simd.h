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

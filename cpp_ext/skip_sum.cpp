#include "skip_sum.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "parallel.h"
#include "simd.h"

#ifdef MOUE_VERSIONS_BY_HAND
#include <immintrin.h>
#endif

namespace moue {
namespace {

constexpr int64_t kTerms = 4;     // that are added in one pass over the sum
constexpr int64_t kBlock = 1024;  // floats; those of every term stay in the nearest cache
constexpr int64_t kGrain = 16;    // blocks worth another thread

template <class Residual>
struct Term {
  float weight;
  const Residual* residual;
};

// Halves as floats. Compilers do not see that x86 has an instruction for it.
MOUE_INLINE void widen_rest(const Half* in, int64_t from, int64_t count, float* out) {
  for (int64_t i = from; i < count; ++i) out[i] = value(in[i]);
}

#ifdef MOUE_VERSIONS_BY_HAND
__attribute__((target("avx512f"))) void widen(const Half* in, int64_t count, float* out) {
  int64_t i = 0;
  for (; i + 16 <= count; i += 16)
    _mm512_storeu_ps(out + i,  // every lane asked for: without a mask GCC 12 warns of its own header
                     _mm512_maskz_cvtph_ps(
                         0xffff, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(in + i))));
  widen_rest(in, i, count, out);
}

__attribute__((target("avx2,f16c"))) void widen(const Half* in, int64_t count, float* out) {
  int64_t i = 0;
  for (; i + 8 <= count; i += 8)
    _mm256_storeu_ps(out + i,
                     _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(in + i))));
  widen_rest(in, i, count, out);
}

__attribute__((target("default")))
#endif
void widen(const Half* in, int64_t count, float* out) {
  widen_rest(in, 0, count, out);
}

// Asks for what is read next: a processor does not foresee that many short reads far apart.
template <class T>
MOUE_INLINE void foresee(const T* next, int64_t count) {
  constexpr int64_t kLine = 64 / sizeof(T);
  for (int64_t i = 0; i < count; i += kLine) __builtin_prefetch(next + i);
}

const float* as_floats(const float* residual, int64_t, float*) { return residual; }

const float* as_floats(const Half* residual, int64_t count, float* room) {
  widen(residual, count, room);
  return room;
}

// Term by term, as the reference adds them: the numbers are the same whatever goes side by side.
MOUE_VERSIONS void add_terms(const float* const* e, const float* a, int64_t terms, int64_t count,
                             float* out) {
  float* __restrict sum = out;
  if (terms == kTerms) {
    for (int64_t i = 0; i < count; ++i)
      sum[i] = sum[i] + a[0] * e[0][i] + a[1] * e[1][i] + a[2] * e[2][i] + a[3] * e[3][i];
    return;
  }
  for (int64_t k = 0; k < terms; ++k)
    for (int64_t i = 0; i < count; ++i) sum[i] += a[k] * e[k][i];
}

// Some cells of one level, and where the first frame's sum of them goes; those of the next frames
// follow a level's size apart.
struct Block {
  int64_t at, count, out, size;
};

std::vector<Block> blocks_of(const std::vector<int64_t>& sizes, int64_t frames) {
  std::vector<Block> blocks;
  int64_t begin = 0;
  for (const int64_t size : sizes) {
    for (int64_t at = 0; at < size; at += kBlock)
      blocks.push_back({begin + at, std::min(kBlock, size - at), frames * begin + at, size});
    begin += size;
  }
  return blocks;
}

template <class Residual>
void add(const float* base, const std::vector<Term<Residual>>& terms, const Block& block,
         float* out) {
  alignas(64) float room[kTerms][kBlock];
  const float* e[kTerms];
  float a[kTerms];
  std::memcpy(out, base + block.at, static_cast<size_t>(block.count) * sizeof *out);
  const auto all = static_cast<int64_t>(terms.size());
  for (int64_t first = 0; first < all; first += kTerms) {
    const int64_t some = std::min(kTerms, all - first);
    for (int64_t k = 0; k < some; ++k) {
      const Term<Residual>& term = terms[static_cast<size_t>(first + k)];
      const Residual* residual = term.residual + block.at;
      a[k] = term.weight;
      foresee(residual + block.count, block.count);
      e[k] = as_floats(residual, block.count, room[k]);
    }
    add_terms(e, a, some, block.count, out);
  }
}

}  // namespace

template <class Residual>
void skip_sum(const float* base, const Residual* residual, const float* actions, float* out,
              int64_t frames, int64_t n, const std::vector<int64_t>& sizes, int threads) {
  int64_t cells = 0;
  for (const int64_t size : sizes) cells += size;
  std::vector<std::vector<Term<Residual>>> terms(static_cast<size_t>(frames));
  for (int64_t t = 0; t < frames; ++t)
    for (int64_t i = 0; i < n; ++i)
      if (const float weight = actions[t * n + i]; weight != 0)
        terms[static_cast<size_t>(t)].push_back({weight, residual + i * cells});
  const std::vector<Block> blocks = blocks_of(sizes, frames);
  parallel_for(static_cast<int64_t>(blocks.size()), kGrain, threads, [&](int64_t k, int64_t end) {
    for (; k < end; ++k) {
      const Block& block = blocks[static_cast<size_t>(k)];
      for (int64_t t = 0; t < frames; ++t)
        add(base, terms[static_cast<size_t>(t)], block, out + block.out + t * block.size);
    }
  });
}

template void skip_sum(const float*, const float*, const float*, float*, int64_t, int64_t,
                       const std::vector<int64_t>&, int);
template void skip_sum(const float*, const Half*, const float*, float*, int64_t, int64_t,
                       const std::vector<int64_t>&, int);

}  // namespace moue

#include "skip_sum.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "parallel.h"
#include "simd.h"

namespace moue {
namespace {

constexpr int64_t kBlock = 4096;  // floats; a block of the sum stays in the first-level cache

template <class Residual>
struct Term {
  float weight;
  const Residual* residual;
};

// Term by term, as the reference adds them: the numbers are the same whatever goes side by side.
template <class Residual>
MOUE_INLINE void add_terms(const float* base, const std::vector<Term<Residual>>& terms, int64_t at,
                           int64_t count, float* out) {
  float* __restrict sum = out + at;
  std::memcpy(sum, base + at, static_cast<size_t>(count) * sizeof *sum);
  size_t k = 0;
  for (; k + 4 <= terms.size(); k += 4) {
    const Term<Residual>* term = &terms[k];
    const Residual *e0 = term[0].residual + at, *e1 = term[1].residual + at,
                   *e2 = term[2].residual + at, *e3 = term[3].residual + at;
    const float a0 = term[0].weight, a1 = term[1].weight, a2 = term[2].weight, a3 = term[3].weight;
    for (int64_t i = 0; i < count; ++i)
      sum[i] = sum[i] + a0 * value(e0[i]) + a1 * value(e1[i]) + a2 * value(e2[i]) +
               a3 * value(e3[i]);
  }
  for (; k < terms.size(); ++k) {
    const Residual* e = terms[k].residual + at;
    const float a = terms[k].weight;
    for (int64_t i = 0; i < count; ++i) sum[i] += a * value(e[i]);
  }
}

MOUE_VERSIONS void add(const float* base, const std::vector<Term<float>>& terms, int64_t at,
                       int64_t count, float* out) {
  add_terms(base, terms, at, count, out);
}

MOUE_VERSIONS void add(const float* base, const std::vector<Term<Half>>& terms, int64_t at,
                       int64_t count, float* out) {
  add_terms(base, terms, at, count, out);
}

}  // namespace

template <class Residual>
void skip_sum(const float* base, const Residual* residual, const float* actions, float* out,
              int64_t frames, int64_t n, int64_t size, int threads) {
  std::vector<std::vector<Term<Residual>>> terms(static_cast<size_t>(frames));
  for (int64_t t = 0; t < frames; ++t)
    for (int64_t i = 0; i < n; ++i)
      if (const float weight = actions[t * n + i]; weight != 0)
        terms[static_cast<size_t>(t)].push_back({weight, residual + i * size});
  parallel_for(size, 4 * kBlock, threads, [&](int64_t begin, int64_t end) {
    for (int64_t at = begin; at < end; at += kBlock)
      for (int64_t t = 0; t < frames; ++t)
        add(base, terms[static_cast<size_t>(t)], at, std::min(kBlock, end - at), out + t * size);
  });
}

template void skip_sum(const float*, const float*, const float*, float*, int64_t, int64_t, int64_t,
                       int);
template void skip_sum(const float*, const Half*, const float*, float*, int64_t, int64_t, int64_t,
                       int);

}  // namespace moue

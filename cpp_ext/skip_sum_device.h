// skip_sum on a device: every level of a portrait at once, FP16 storage, FP32 sums.
#pragma once

#include "portable.h"

namespace moue {

constexpr int kMostLevels = 16;
constexpr int kMostActions = 512;

// Levels stand one after another: base [total], residual [n, total]. The sums are laid out as the
// decoder takes them: out holds [frames, size of the level] for each level in turn.
struct SkipSum {
  const Half* base;
  const Half* residual;
  const float* actions;  // [frames, n]
  Half* out;
  int32_t frames, n, levels;
  int64_t begin[kMostLevels + 1];  // of each level in base; the last is total
};

struct Weight {
  float weight;
  int32_t action;
};

// The sum of kWide neighbours in one level, over the `count` residuals whose weight is not zero.
template <int kWide>
MOUE_PORTABLE void sum_skips(const SkipSum& p, int64_t at, int frame, const Weight* weights,
                             int count) {
  struct alignas(2 * kWide) Halves {
    Half lane[kWide];
  };
  const auto load = [](const Half* from) { return *reinterpret_cast<const Halves*>(from); };
  const int64_t total = p.begin[p.levels];

  float sum[kWide];
  const Halves base = load(p.base + at);
  for (int k = 0; k < kWide; ++k) sum[k] = to_float(base.lane[k]);
#ifdef __CUDA_ARCH__
#pragma unroll 4  // so many loads are under way at a time
#endif
  for (int i = 0; i < count; ++i) {
    const Halves residual = load(p.residual + weights[i].action * total + at);
    for (int k = 0; k < kWide; ++k) sum[k] += weights[i].weight * to_float(residual.lane[k]);
  }
  int level = 0;
  while (at >= p.begin[level + 1]) ++level;
  const int64_t first = p.begin[level], size = p.begin[level + 1] - first;
  Halves result;
  for (int k = 0; k < kWide; ++k) store(&result.lane[k], sum[k]);
  *reinterpret_cast<Halves*>(p.out + p.frames * first + frame * size + (at - first)) = result;
}

// How many neighbours every level and every address allow at a time.
inline int width_of(const SkipSum& p) {
  auto odd = reinterpret_cast<uintptr_t>(p.base) | reinterpret_cast<uintptr_t>(p.residual) |
             reinterpret_cast<uintptr_t>(p.out);
  for (int level = 1; level <= p.levels; ++level)
    odd |= static_cast<uintptr_t>(p.begin[level]) * sizeof(Half);
  return odd % 16 == 0 ? 8 : 1;
}

void skip_sum_on_host(const SkipSum& p);
void skip_sum_on_device(const SkipSum& p, void* stream);

}  // namespace moue

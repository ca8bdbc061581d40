// skip_sum on a device: every level of a portrait at once, FP16 storage, FP32 sums.
#pragma once

#include "portable.h"

namespace moue {

constexpr int kMostLevels = 16;
constexpr int kMostActions = 512;
constexpr int kWide = 8;  // neighbours at a time; every level has a multiple of that

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

constexpr int kAtATime = 4;  // frames that share one reading of the residuals

// A residual, and what it counts for in each of a few frames.
struct Weighted {
  int32_t action;
  float weight[kAtATime];

  MOUE_PORTABLE bool any() const {
    bool some = false;
    for (const float w : weight) some |= w != 0;
    return some;
  }
};

// Of one action in `kFrames` frames from `first` on; none in frames that there are not.
template <int kFrames>
MOUE_PORTABLE Weighted weights_of(const SkipSum& p, int first, int32_t action) {
  Weighted found = {action, {}};
  for (int f = 0; f < kFrames; ++f)
    if (action < p.n && first + f < p.frames)
      found.weight[f] = p.actions[int64_t{first + f} * p.n + action];
  return found;
}

struct alignas(2 * kWide) Halves {
  Half lane[kWide];
};

MOUE_PORTABLE Halves load(const Half* from) { return *reinterpret_cast<const Halves*>(from); }

MOUE_PORTABLE void save(Half* to, const Halves& halves) {
#ifdef __CUDA_ARCH__  // as one word of 16 bytes
  uint4 word;
  std::memcpy(&word, &halves, sizeof word);
  __stwb(reinterpret_cast<uint4*>(to), word);
#else
  *reinterpret_cast<Halves*>(to) = halves;
#endif
}

// The sums of kWide neighbours in one level, for `kFrames` frames from `first` on, over the `count`
// residuals of the actions that any of them has. `base` is what e0 holds at `at`.
template <int kFrames>
MOUE_PORTABLE void sum_skips(const SkipSum& p, int64_t at, const Halves& base, int first,
                             const Weighted* weights, int count) {
  float sum[kFrames][kWide];
  for (auto& frame : sum)
    for (int k = 0; k < kWide; ++k) frame[k] = to_float(base.lane[k]);
  const int64_t total = p.begin[p.levels];
  constexpr int kAhead = kFrames == 1 ? 8 : 4;  // loads that are under way at a time
  for (int i = 0; i < count; i += kAhead) {
    Halves residual[kAhead];
    for (int a = 0; a < kAhead; ++a)
      if (i + a < count) residual[a] = load(p.residual + weights[i + a].action * total + at);
    for (int a = 0; a < kAhead; ++a)
      for (int f = 0; f < kFrames; ++f) {
        const float weight = i + a < count ? weights[i + a].weight[f] : 0;
        for (int k = 0; k < kWide; ++k)
          sum[f][k] = weight != 0 ? sum[f][k] + weight * to_float(residual[a].lane[k]) : sum[f][k];
      }
  }
  int level = 0;
  while (at >= p.begin[level + 1]) ++level;
  const int64_t begin = p.begin[level], size = p.begin[level + 1] - begin;
  for (int f = 0; f < kFrames && first + f < p.frames; ++f) {
    Halves result;
    for (int k = 0; k < kWide; ++k) store(&result.lane[k], sum[f][k]);
    save(p.out + p.frames * begin + (first + f) * size + (at - begin), result);
  }
}

void skip_sum_on_host(const SkipSum& p);
void skip_sum_on_device(const SkipSum& p, void* stream);

}  // namespace moue

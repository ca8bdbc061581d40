#include "skip_sum.h"

#include <algorithm>
#include <cstring>

#include "parallel.h"

namespace moue {
namespace {

constexpr int64_t kBlock = 4096;  // floats; a block of the sum stays in the first-level cache

inline float value(float x) { return x; }

// Shifts the half's bits into place and rebiases the exponent with one multiplication, which also
// normalises subnormals; no table and no branch, so that the loop below becomes SIMD everywhere.
inline float value(Half half) {
  const uint32_t magnitude = uint32_t(half.bits & 0x7fff) << 13;
  float scaled;
  std::memcpy(&scaled, &magnitude, sizeof scaled);
  scaled *= 0x1p112f;
  uint32_t bits;
  std::memcpy(&bits, &scaled, sizeof bits);
  bits |= (half.bits & 0x7c00) == 0x7c00 ? 0x7f800000u : 0u;  // infinities and NaN
  bits |= uint32_t(half.bits & 0x8000) << 16;
  std::memcpy(&scaled, &bits, sizeof scaled);
  return scaled;
}

template <class Residual>
void add_scaled(float* __restrict out, const Residual* __restrict residual, float weight,
                int64_t count) {
  for (int64_t i = 0; i < count; ++i) out[i] += weight * value(residual[i]);
}

}  // namespace

template <class Residual>
void skip_sum(const float* base, const Residual* residual, const float* actions, float* out,
              int64_t frames, int64_t n, int64_t size, int threads) {
  const auto body = [&](int64_t begin, int64_t end) {
    for (int64_t at = begin; at < end; at += kBlock) {
      const int64_t count = std::min(kBlock, end - at);
      for (int64_t t = 0; t < frames; ++t) {
        float* sum = out + t * size + at;
        std::copy_n(base + at, count, sum);
        for (int64_t i = 0; i < n; ++i)
          if (const float weight = actions[t * n + i]; weight != 0)
            add_scaled(sum, residual + i * size + at, weight, count);
      }
    }
  };
  parallel_for(size, 4 * kBlock, threads, body);
}

template void skip_sum(const float*, const float*, const float*, float*, int64_t, int64_t, int64_t,
                       int);
template void skip_sum(const float*, const Half*, const float*, float*, int64_t, int64_t, int64_t,
                       int);

}  // namespace moue

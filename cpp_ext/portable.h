// What lets one function run on the host and on a CUDA device.
#pragma once

#include <cstdint>

#include "half.h"

#ifdef __CUDACC__
#include <cuda_fp16.h>
#define MOUE_PORTABLE __host__ __device__ inline
#else
#define MOUE_PORTABLE inline
#endif

namespace moue {

MOUE_PORTABLE float to_float(Half half) {
#ifdef __CUDA_ARCH__
  return __half2float(__ushort_as_half(half.bits));
#else
  return value(half);
#endif
}

MOUE_PORTABLE void store(Half* to, float x) {
#ifdef __CUDA_ARCH__
  to->bits = __half_as_ushort(__float2half_rn(x));
#else
  *to = rounded(x);
#endif
}

MOUE_PORTABLE void store(float* to, float x) { *to = x; }

MOUE_PORTABLE float mix(float a, float b, float t) { return a + t * (b - a); }

// Turns NaN into `low`, so that no number can lead out of an image.
MOUE_PORTABLE float within(float x, float low, float high) {
  return x > low ? (x < high ? x : high) : low;
}

// A coordinate of an image as the pixel before it, the pixel after it, and the way between them.
// `from` is a whole pixel, `motion` what is added to it; pixels are 0 … last and repeat outside.
// Whole and broken part are kept apart: float32 alone would be coarse at the far end of a photo.
struct Between {
  int32_t before, after;
  float part;
};

MOUE_PORTABLE Between between(int32_t from, float motion, int32_t last) {
  constexpr float kFar = 1 << 23;  // pixels, beyond any image; floats still tell whole ones apart
  const float bounded = within(motion, -kFar, kFar);
  auto down = static_cast<int32_t>(bounded);
  down -= static_cast<float>(down) > bounded;
  const int32_t at = from + down;
  if (at < 0) return {0, 0, 0};
  if (at >= last) return {last, last, 0};
  return {at, at + 1, bounded - static_cast<float>(down)};
}

// Red, green, blue in 0..255 at a point; `pixel` bytes a pixel, 3 or 4.
struct Colour {
  float red, green, blue;
};

MOUE_PORTABLE Colour colour_at(const uint8_t* p) {
  return {static_cast<float>(p[0]), static_cast<float>(p[1]), static_cast<float>(p[2])};
}

MOUE_PORTABLE Colour mix(Colour a, Colour b, float t) {
  return {mix(a.red, b.red, t), mix(a.green, b.green, t), mix(a.blue, b.blue, t)};
}

MOUE_PORTABLE Colour sample(const uint8_t* image, int64_t width, int pixel, Between x, Between y) {
  const uint8_t *top = image + y.before * width * pixel, *below = image + y.after * width * pixel;
  return mix(mix(colour_at(top + x.before * pixel), colour_at(top + x.after * pixel), x.part),
             mix(colour_at(below + x.before * pixel), colour_at(below + x.after * pixel), x.part),
             y.part);
}

}  // namespace moue

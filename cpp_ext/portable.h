// What lets one function run on the host and on a CUDA device.
#pragma once

#include <cstdint>
#include <cstring>

#include "half.h"

#ifdef __CUDACC__
#include <cuda_fp16.h>
#define MOUE_PORTABLE __host__ __device__ inline
#else
#define MOUE_PORTABLE inline
#endif

namespace moue {

// The pointer itself, of global memory, kept in a register: a device's compiler would rather add up its
// parts again at every load in a loop. Nor would it know any more which memory that is.
template <class T>
MOUE_PORTABLE T* kept(T* pointer) {
#ifdef __CUDA_ARCH__
  asm("" : "+l"(pointer));
  __builtin_assume(__isGlobal(pointer));
#endif
  return pointer;
}

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

// So much of what has changed since rest is nothing: of a motion along x or y, in sides of the
// square, and of a mask.
constexpr float kStill = 0.1f / 256, kFaint = 1.0f / 64;

// Up to this a mask shows light alone; from twice as much on, all of the mouth's picture.
constexpr float kThin = 1.0f / 8;

// So much steeper is the edge of the mouth in a frame than in the mask, whose cells are coarser.
constexpr float kEdge = 2;

// Nearer to nothing by that much.
MOUE_PORTABLE float settled(float x, float by) { return x - (x > by ? by : (x < -by ? -by : x)); }

// Turns NaN into `low`, so that no number can lead out of an image.
MOUE_PORTABLE float within(float x, float low, float high) {
#ifdef __CUDA_ARCH__
  return fminf(fmaxf(x, low), high);
#else
  return x > low ? (x < high ? x : high) : low;
#endif
}

// The share of the mouth's picture that shows through a mask.
MOUE_PORTABLE float pictured(float mask) { return within(mask * (1 / kThin) - 1, 0, 1); }

// A mask in the mouth's window as it hides what is behind it: so that no tooth shines through a lip.
MOUE_PORTABLE float edged(float mask) {
  const float light = mask < kThin ? mask : kThin;
  const float mouth = within(kEdge * (mask - 0.5f) + 0.5f, 0, 1);
  return mouth > light ? mouth : light;
}

MOUE_PORTABLE int32_t rounded_down(float x) {
#ifdef __CUDA_ARCH__
  return __float2int_rd(x);
#else
  const auto whole = static_cast<int32_t>(x);
  return whole - (static_cast<float>(whole) > x);
#endif
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
  const int32_t down = rounded_down(bounded), at = from + down;
  const auto inside = [&](int32_t k) { return k > 0 ? (k < last ? k : last) : 0; };
  return {inside(at), inside(at + 1), bounded - static_cast<float>(down)};
}

// What each of four corners counts for, at a part of the way right and down.
struct Weights {
  float upper_left, upper_right, lower_left, lower_right;
};

MOUE_PORTABLE Weights bilinear(float right, float down) {
  return {(1 - right) * (1 - down), right * (1 - down), (1 - right) * down, right * down};
}

MOUE_PORTABLE float mean(const Weights& w, float upper_left, float upper_right, float lower_left,
                         float lower_right) {
  return w.upper_left * upper_left + w.upper_right * upper_right + w.lower_left * lower_left +
         w.lower_right * lower_right;
}

// Red, green, blue in 0..255.
struct Colour {
  float red, green, blue;
};

// How bright a colour is (BT.601).
MOUE_PORTABLE float luma(float red, float green, float blue) {
  return 0.299f * red + 0.587f * green + 0.114f * blue;
}

// Red, green and blue from the lowest byte on. Four bytes a pixel are one load.
template <int kPixel>
MOUE_PORTABLE uint32_t bytes_of(const uint8_t* p) {
  if constexpr (kPixel == 4) {
    uint32_t word;
    std::memcpy(&word, __builtin_assume_aligned(p, 4), sizeof word);
    return word;
  }
  return static_cast<uint32_t>(p[0] | p[1] << 8 | p[2] << 16);
}

// The k-th byte from the lowest on. On a device it becomes the last digits of a float as it is,
// which no slow conversion has to make.
template <int k>
MOUE_PORTABLE float byte_of(uint32_t word) {
#ifdef __CUDA_ARCH__
  return __uint_as_float(__byte_perm(word, 0x4b000000, 0x7440 | k)) - 0x1p23f;
#else
  return static_cast<float>(word >> 8 * k & 0xff);
#endif
}

// `image` [height, width, kPixel], of less than 2^32 bytes.
template <int kPixel>
MOUE_PORTABLE Colour sample(const uint8_t* image, int32_t width, Between x, Between y) {
  const auto pixel = [&](int32_t i, int32_t j) {
    return bytes_of<kPixel>(image + static_cast<uint32_t>(i * width + j) * uint32_t{kPixel});
  };
  const uint32_t a = pixel(y.before, x.before), b = pixel(y.before, x.after),
                 c = pixel(y.after, x.before), d = pixel(y.after, x.after);
  const Weights w = bilinear(x.part, y.part);
  return {mean(w, byte_of<0>(a), byte_of<0>(b), byte_of<0>(c), byte_of<0>(d)),
          mean(w, byte_of<1>(a), byte_of<1>(b), byte_of<1>(c), byte_of<1>(d)),
          mean(w, byte_of<2>(a), byte_of<2>(b), byte_of<2>(c), byte_of<2>(d))};
}

}  // namespace moue

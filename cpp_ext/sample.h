// Bilinear samples of an 8-bit RGB photo; outside it, its edge pixels repeat.
#pragma once

#include <cstdint>
#include <cstring>

#include "simd.h"

namespace moue {

// Four lanes of whatever SIMD the machine has: GCC and Clang know these on every architecture.
using Float4 = float __attribute__((vector_size(16)));
using Int4 = int32_t __attribute__((vector_size(16)));

MOUE_INLINE Float4 lerp(Float4 a, Float4 b, float t) { return a + t * (b - a); }

// Also turns NaN into `low`, so that no number can lead outside a photo.
template <class T>
MOUE_INLINE T clamp(T x, T low, T high) {
  const T least = x > low ? x : low;
  return least < high ? least : high;
}

struct Photo {
  const uint8_t* pixels;
  int64_t height, width;

  // x, y count in pixels from the centre of pixel (0, 0). Lanes: red, green, blue in 0..255, zero.
  // Where x and y are whole numbers the result is the pixel itself, exactly.
  Float4 at(double x, double y) const {
    x = clamp(x, 0.0, static_cast<double>(width - 1));
    y = clamp(y, 0.0, static_cast<double>(height - 1));
    const auto x0 = static_cast<int32_t>(x), y0 = static_cast<int32_t>(y);
    const auto fx = static_cast<float>(x - x0), fy = static_cast<float>(y - y0);
    const int64_t right = fx > 0 ? 3 : 0;
    const uint8_t* top = pixels + (y0 * width + x0) * 3;
    const uint8_t* below = top + (fy > 0 ? width * 3 : 0);
    return kUnscale * lerp(lerp(lanes(top), lanes(top + right), fx),
                           lerp(lanes(below), lanes(below + right), fx), fy);
  }

  // Red, green, blue and one byte more, from the lowest on.
  MOUE_INLINE uint32_t bytes(const uint8_t* pixel) const {
    uint32_t word;
    if (pixel == pixels + (height * width - 1) * 3)  // a fourth byte would lie beyond the photo
      word = static_cast<uint32_t>(pixel[0] | pixel[1] << 8 | pixel[2] << 16);
    else
      std::memcpy(&word, pixel, sizeof word);
    return word;
  }

  // The pixel that begins at that byte, and its right neighbour from bit 24 on; in the last column
  // some other bytes of the photo, or zeros.
  MOUE_INLINE uint64_t pair(int64_t at) const {
    const int64_t beyond = at + 8 - height * width * 3;
    uint64_t word;
    if (beyond <= 0) {
      std::memcpy(&word, pixels + at, sizeof word);
      return word;
    }
    word = 0;
    std::memcpy(&word, pixels + at, static_cast<size_t>(8 - beyond));
    return word;
  }

 private:
  // Bytes become lanes with one mask; that leaves them times 1, 2^8 and 2^16, which is exact.
  static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__);
  static constexpr Int4 kBytes = {0xff, 0xff00, 0xff0000, 0};
  static constexpr Float4 kUnscale = {1, 0x1p-8f, 0x1p-16f, 0};

  Float4 lanes(const uint8_t* pixel) const {
    return __builtin_convertvector(static_cast<int32_t>(bytes(pixel)) & kBytes, Float4);
  }
};

}  // namespace moue

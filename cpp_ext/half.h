// IEEE 754 binary16, and its way to float and back on the host.
#pragma once

#include <cstdint>
#include <cstring>

#include "simd.h"

namespace moue {

struct Half {  // as stored
  uint16_t bits;
};

MOUE_INLINE float value(float x) { return x; }

// Shifts the half's bits into place and rebiases the exponent with one multiplication, which also
// normalises subnormals; no table and no branch, so that the loops below become SIMD everywhere.
MOUE_INLINE float value(Half half) {
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

// The nearest half, ties to even.
inline Half rounded(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  const uint32_t sign = bits >> 16 & 0x8000, magnitude = bits & 0x7fffffff;
  uint32_t half;
  if (magnitude > 0x7f800000) {
    half = 0x7e00;
  } else if (magnitude >= 0x477ff000) {
    half = 0x7c00;
  } else if (magnitude < 0x38800000) {  // subnormal: 0.5 has a last bit worth as much as theirs
    float size;
    std::memcpy(&size, &magnitude, sizeof size);
    size += 0.5f;
    std::memcpy(&half, &size, sizeof half);
    half -= 0x3f000000;
  } else {
    half = (magnitude - 0x38000000 + 0xfff + (magnitude >> 13 & 1)) >> 13;
  }
  return {static_cast<uint16_t>(sign | half)};
}

}  // namespace moue

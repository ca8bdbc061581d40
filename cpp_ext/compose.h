// One frame at the photo's own resolution: (1 - m) warp(photo, flow) + m colour.
#pragma once

#include <cstdint>

namespace moue {

// photo and out uint8 [height, width, 3]; to_crop [2, 3]: u = M (x, y, 1); flow [2, size, size] in
// sides of the face square; mask [size, size] and colour [3, size, size] in [0, 1].
// Writes only the pixels of `out` whose centre lies in the square.
void compose(const uint8_t* photo, int64_t height, int64_t width, const double* to_crop,
             const float* flow, const float* mask, const float* colour, int64_t size, uint8_t* out,
             int threads);

}  // namespace moue

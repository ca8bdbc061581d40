// The face square of a photo as the generator's input.
#pragma once

#include <cstdint>

namespace moue {

// photo uint8 [height, width, 3], to_photo [2, 3]: photo = M (ux, uy, 1), out float [3, size, size]
// in [0, 1]. Each output pixel is the mean of taps x taps bilinear samples.
void preprocess(const uint8_t* photo, int64_t height, int64_t width, const double* to_photo,
                int64_t size, int64_t taps, float* out, int threads);

}  // namespace moue

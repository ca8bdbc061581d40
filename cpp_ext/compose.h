// One frame at the photo's own resolution: (1 - m) warp(photo, flow) + m paint.
#pragma once

#include <cstdint>

namespace moue {

// The decoder's maps for one frame: flow [2, size, size] in sides of the face square, mask
// [size, size], light [3, size, size], and place [2, rows, columns] from the middle of the mouth's
// picture and in its sides, a node for every few cells of the mouth's window. Flow and mask count
// from what they are at rest, where that is given; from nothing where it is null. `faded` in [0, 1]
// is how much of its colour what is painted loses.
struct Maps {
  const float *flow, *mask, *rest_flow, *rest_mask, *light, *place;
  int64_t size, rows, columns;
  float faded;
};

// Teeth and tongue, uint8 [height, width, 3], and the part of the square where they are looked up.
struct Mouth {
  const uint8_t* picture;
  int64_t height, width;
  const double* window;  // left, top, right, bottom, in sides of the square
};

// photo and out uint8 [height, width, 3]; to_crop [2, 3]: u = M (x, y, 1).
// Writes the pixels of `out` whose centre lies in the square; with `whole` the photo around it too.
void compose(const uint8_t* photo, int64_t height, int64_t width, const double* to_crop,
             const Maps& maps, const Mouth& mouth, uint8_t* out, bool whole, int threads);

}  // namespace moue

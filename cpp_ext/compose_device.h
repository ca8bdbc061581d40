// compose on a device: the decoder's maps become cells, and the cells a frame at the photo's size.
#pragma once

#include <cstddef>

#include "portable.h"
#include "square_rows.h"

namespace moue {

// What a frame needs to know at one place of the square, side by side in memory.
struct alignas(16) MapCell {
  float x, y;  // to where the pixel comes from, in photo pixels
  Half mask, red, green, blue;
};

// The decoder's outputs [frames, channels, size, size] less what they are at rest, as cells with
// their edges repeated once around: [frames, size + 2, size + 2]. Those of a frame without actions
// are zero: it is the photo itself.
struct Cells {
  const Half *flow, *mask, *colour;
  const Half *rest_flow, *rest_mask;  // [2, size, size], [size, size]
  const float* actions;               // [frames, n]
  MapCell* cells;
  int32_t frames, n, size;
  float to_pixels[4];  // [2, 2]: flow counts in sides of the square
};

MOUE_PORTABLE MapCell map_cell(const Cells& p, int frame, int i, int j) {
  const auto inner = [&](int k) { return k < 1 ? 0 : (k > p.size ? p.size - 1 : k - 1); };
  const int64_t plane = int64_t{p.size} * p.size, at = int64_t{inner(i)} * p.size + inner(j);
  const Half *flow = p.flow + frame * 2 * plane + at, *colour = p.colour + frame * 3 * plane + at;
  const float x = to_float(flow[0]) - to_float(p.rest_flow[at]);
  const float y = to_float(flow[plane]) - to_float(p.rest_flow[plane + at]);
  MapCell cell;
  cell.x = p.to_pixels[0] * x + p.to_pixels[1] * y;
  cell.y = p.to_pixels[2] * x + p.to_pixels[3] * y;
  store(&cell.mask,
        within(to_float(p.mask[frame * plane + at]) - to_float(p.rest_mask[at]), 0, 1));
  store(&cell.red, within(to_float(colour[0]), 0, 1));
  store(&cell.green, within(to_float(colour[plane]), 0, 1));
  store(&cell.blue, within(to_float(colour[2 * plane]), 0, 1));
  return cell;
}

MOUE_PORTABLE MapCell loaded(const MapCell* cell) {
#ifdef __CUDA_ARCH__  // as one word of 16 bytes
  const uint4 word = *reinterpret_cast<const uint4*>(cell);
  MapCell copy;
  std::memcpy(&copy, &word, sizeof copy);
  return copy;
#else
  return *cell;
#endif
}

struct Blend {
  const uint8_t* source;  // [height, width, pixel], the next frame's `source_stride` bytes further
  int64_t source_stride;
  const MapCell* cells;
  const Row* rows;  // [height]
  uint8_t* out;     // [frames, height, width, 3]
  int32_t frames, height, width, size, pixel;
  int32_t first_row, last_row, most_pixels;  // rows with pixels in the square; the longest's
  float step_x, step_y;                      // from a pixel to the next, in cells
};

struct Bytes3 {
  uint8_t red, green, blue;
};

template <int kPixel>
MOUE_PORTABLE Bytes3 blended(const Blend& p, const uint8_t* source, const MapCell* cells,
                             const Row& row, int32_t i, int32_t j) {
  const auto along = static_cast<float>(j - row.begin);
  // What is fused or rounded otherwise on a device must not lead out of the cells either.
  const auto most = static_cast<float>(p.size);
  const float x = within(row.x + along * p.step_x, 0, most);
  const float y = within(row.y + along * p.step_y, 0, most);
  const int32_t x0 = rounded_down(x), y0 = rounded_down(y), stride = p.size + 2;
  const MapCell* cell = cells + static_cast<uint32_t>(y0 * stride + x0);
  const MapCell corners[4] = {loaded(cell), loaded(cell + 1), loaded(cell + stride),
                              loaded(cell + stride + 1)};
  const Weights w = bilinear(x - static_cast<float>(x0), y - static_cast<float>(y0));
  const auto at = [&](auto field) {
    return mean(w, field(corners[0]), field(corners[1]), field(corners[2]), field(corners[3]));
  };
  const float dx = at([](const MapCell& c) { return c.x; });
  const float dy = at([](const MapCell& c) { return c.y; });
  const float mask = at([](const MapCell& c) { return to_float(c.mask); });
  const float red = at([](const MapCell& c) { return to_float(c.red); });
  const float green = at([](const MapCell& c) { return to_float(c.green); });
  const float blue = at([](const MapCell& c) { return to_float(c.blue); });
  const Colour warped = sample<kPixel>(source, p.width, between(j, dx, p.width - 1),
                                       between(i, dy, p.height - 1));
  const float kept = 1 - mask, painted = 255 * mask;
  const auto byte = [&](float from, float to) {
    return static_cast<uint8_t>(kept * from + painted * to + 0.5f);
  };
  return {byte(warped.red, red), byte(warped.green, green), byte(warped.blue, blue)};
}

void compose_on_host(const Cells& cells, const Blend& blend);
void compose_on_device(const Cells& cells, const Blend& blend, void* stream);

}  // namespace moue

// compose on a device: the decoder's maps become cells, and the cells a frame at the photo's size.
#pragma once

#include <cstddef>

#include "portable.h"
#include "square_rows.h"

namespace moue {

// What a frame needs to know at one place of the square, side by side in memory: the last three are
// the light.
struct alignas(16) MapCell {
  float x, y;  // to where the pixel comes from, in photo pixels
  Half mask, red, green, blue;
};

// The decoder's outputs [frames, channels, size, size] less what they are at rest, as cells with
// their edges repeated once around: [frames, size + 2, size + 2]. Those of a frame without actions
// are zero: it is the photo itself.
struct Cells {
  const Half *flow, *mask, *light;
  const Half *rest_flow, *rest_mask;  // [2, size, size], [size, size]
  const float* actions;               // [frames, n]
  MapCell* cells;
  int32_t frames, n, size;
  float to_pixels[4];  // [2, 2]: flow counts in sides of the square
};

MOUE_PORTABLE MapCell map_cell(const Cells& p, int frame, int i, int j) {
  const auto inner = [&](int k) { return k < 1 ? 0 : (k > p.size ? p.size - 1 : k - 1); };
  const int64_t plane = int64_t{p.size} * p.size, at = int64_t{inner(i)} * p.size + inner(j);
  const Half *flow = p.flow + frame * 2 * plane + at, *light = p.light + frame * 3 * plane + at;
  const float x = settled(to_float(flow[0]) - to_float(p.rest_flow[at]), kStill);
  const float y = settled(to_float(flow[plane]) - to_float(p.rest_flow[plane + at]), kStill);
  const float mask = to_float(p.mask[frame * plane + at]) - to_float(p.rest_mask[at]);
  MapCell cell;
  cell.x = p.to_pixels[0] * x + p.to_pixels[1] * y;
  cell.y = p.to_pixels[2] * x + p.to_pixels[3] * y;
  store(&cell.mask, within(settled(mask, kFaint), 0, 1));
  cell.red = light[0];
  cell.green = light[plane];
  cell.blue = light[2 * plane];
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

// The picture of a mouth, and where in it the window of the square is looked up: a node for every
// kPlaceStep cells along each axis of the window says so, in sides of the picture from its middle.
struct Teeth {
  const Half* place;       // [frames, 2, rows, columns]
  const uint8_t* picture;  // [height, width, 4]
  int32_t rows, columns, height, width;
  float x, y;  // where the first node stands, in cells
};
inline constexpr float kPlaceStep = 4;

// The picture at a place of the square, which is (x, y) in cells; outside the window its edge.
MOUE_PORTABLE Colour look_up(const Teeth& p, const Half* place, float x, float y) {
  const Between across = between(0, (x - p.x) / kPlaceStep, p.columns - 1);
  const Between down = between(0, (y - p.y) / kPlaceStep, p.rows - 1);
  const Weights w = bilinear(across.part, down.part);
  const auto at = [&](const Half* plane, int32_t pixels) {
    const auto node = [&](int32_t i, int32_t j) { return to_float(plane[i * p.columns + j]); };
    const float side = mean(w, node(down.before, across.before), node(down.before, across.after),
                            node(down.after, across.before), node(down.after, across.after));
    return between(0, (side + 0.5f) * static_cast<float>(pixels) - 0.5f, pixels - 1);
  };
  return sample<4>(p.picture, p.width, at(place, p.width),
                   at(place + p.rows * p.columns, p.height));
}

struct Blend {
  const uint8_t* source;  // [height, width, pixel], the next frame's `source_stride` bytes further
  int64_t source_stride;
  const MapCell* cells;
  Teeth teeth;
  const Row* rows;  // [height]
  uint8_t* out;     // [frames, height, width, 3]
  int32_t frames, height, width, size, pixel;
  int32_t first_row, last_row, most_pixels;  // rows with pixels in the square; the longest's
  float step_x, step_y;                      // from a pixel to the next, in cells
  float faded;                               // how much of its colour what is painted loses
};

// What one frame is made from.
struct Parts {
  const uint8_t* source;
  const MapCell* cells;
  const Half* place;
};

MOUE_PORTABLE Parts parts_of(const Blend& p, int64_t frame) {
  return {kept(p.source + frame * p.source_stride),
          kept(p.cells + frame * (p.size + 2) * (p.size + 2)),
          kept(p.teeth.place + frame * 2 * p.teeth.rows * p.teeth.columns)};
}

struct Bytes3 {
  uint8_t red, green, blue;
};

template <int kPixel>
MOUE_PORTABLE Bytes3 blended(const Blend& p, const Parts& parts, const Row& row, int32_t i,
                             int32_t j) {
  const auto along = static_cast<float>(j - row.begin);
  // What is fused or rounded otherwise on a device must not lead out of the cells either.
  const auto most = static_cast<float>(p.size);
  const float x = within(row.x + along * p.step_x, 0, most);
  const float y = within(row.y + along * p.step_y, 0, most);
  const int32_t x0 = rounded_down(x), y0 = rounded_down(y), stride = p.size + 2;
  const MapCell* cell = parts.cells + static_cast<uint32_t>(y0 * stride + x0);
  const MapCell corners[4] = {loaded(cell), loaded(cell + 1), loaded(cell + stride),
                              loaded(cell + stride + 1)};
  const Weights w = bilinear(x - static_cast<float>(x0), y - static_cast<float>(y0));
  const auto at = [&](auto field) {
    return mean(w, field(corners[0]), field(corners[1]), field(corners[2]), field(corners[3]));
  };
  const float dx = at([](const MapCell& c) { return c.x; });
  const float dy = at([](const MapCell& c) { return c.y; });
  float mask = at([](const MapCell& c) { return to_float(c.mask); });
  const float red = at([](const MapCell& c) { return to_float(c.red); });
  const float green = at([](const MapCell& c) { return to_float(c.green); });
  const float blue = at([](const MapCell& c) { return to_float(c.blue); });
  Colour seen = {255, 255, 255};
  const float share = pictured(mask);
  if (mask > kThin && j >= row.mouth.begin && j < row.mouth.end) {
    seen = look_up(p.teeth, parts.place, x, y);
    mask = edged(mask);
  }
  const auto lit = [&](float light, float picture) {
    return light * (255 + share * (picture - 255));
  };
  const Colour paint = {lit(red, seen.red), lit(green, seen.green), lit(blue, seen.blue)};
  const float grey = luma(paint.red, paint.green, paint.blue);
  const Colour warped = sample<kPixel>(parts.source, p.width, between(j, dx, p.width - 1),
                                       between(i, dy, p.height - 1));
  const auto byte = [&](float from, float to) {
    const float faded = within(to + p.faded * (grey - to), 0, 255);
    return static_cast<uint8_t>((1 - mask) * from + mask * faded + 0.5f);
  };
  return {byte(warped.red, paint.red), byte(warped.green, paint.green),
          byte(warped.blue, paint.blue)};
}

void compose_on_host(const Cells& cells, const Blend& blend);
void compose_on_device(const Cells& cells, const Blend& blend, void* stream);

}  // namespace moue

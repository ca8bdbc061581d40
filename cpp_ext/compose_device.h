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
// their edges repeated once around: [frames, size + 2, size + 2].
struct Cells {
  const Half *flow, *mask, *colour;
  const Half *rest_flow, *rest_mask;  // [2, size, size], [size, size]
  const float* actions;               // [frames, n]
  MapCell* cells;
  int32_t frames, n, size;
  float to_pixels[4];  // [2, 2]: flow counts in sides of the square
};

// `moves` is whether any action of the frame is not zero; a frame of none is the photo itself.
MOUE_PORTABLE MapCell map_cell(const Cells& p, int frame, int i, int j, bool moves) {
  MapCell cell = {};
  if (!moves) return cell;
  const auto inner = [&](int k) { return k < 1 ? 0 : (k > p.size ? p.size - 1 : k - 1); };
  const int64_t plane = int64_t{p.size} * p.size, at = int64_t{inner(i)} * p.size + inner(j);
  const Half *flow = p.flow + frame * 2 * plane + at, *colour = p.colour + frame * 3 * plane + at;
  const float x = to_float(flow[0]) - to_float(p.rest_flow[at]);
  const float y = to_float(flow[plane]) - to_float(p.rest_flow[plane + at]);
  cell.x = p.to_pixels[0] * x + p.to_pixels[1] * y;
  cell.y = p.to_pixels[2] * x + p.to_pixels[3] * y;
  store(&cell.mask,
        within(to_float(p.mask[frame * plane + at]) - to_float(p.rest_mask[at]), 0, 1));
  store(&cell.red, within(to_float(colour[0]), 0, 1));
  store(&cell.green, within(to_float(colour[plane]), 0, 1));
  store(&cell.blue, within(to_float(colour[2 * plane]), 0, 1));
  return cell;
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

MOUE_PORTABLE Bytes3 blended(const Blend& p, int frame, int32_t i, int32_t j) {
  const Row row = p.rows[i];
  const auto along = static_cast<float>(j - row.begin);
  const float x = row.x + along * p.step_x, y = row.y + along * p.step_y;
  // What is fused or rounded otherwise on a device must not lead out of the cells either.
  const auto most = static_cast<float>(p.size);
  const auto x0 = static_cast<int32_t>(within(x, 0, most));
  const auto y0 = static_cast<int32_t>(within(y, 0, most));
  const float fx = x - static_cast<float>(x0), fy = y - static_cast<float>(y0);
  const int64_t stride = p.size + 2;
  const MapCell* cell = p.cells + (frame * stride + y0) * stride + x0;
  const MapCell corners[4] = {cell[0], cell[1], cell[stride], cell[stride + 1]};
  const auto at = [&](auto field) {
    return mix(mix(field(corners[0]), field(corners[1]), fx),
               mix(field(corners[2]), field(corners[3]), fx), fy);
  };
  const float dx = at([](const MapCell& c) { return c.x; });
  const float dy = at([](const MapCell& c) { return c.y; });
  const float mask = at([](const MapCell& c) { return to_float(c.mask); });
  const Colour paint = {at([](const MapCell& c) { return to_float(c.red); }),
                        at([](const MapCell& c) { return to_float(c.green); }),
                        at([](const MapCell& c) { return to_float(c.blue); })};
  const Colour warped = sample(p.source + frame * p.source_stride, p.width, p.pixel,
                               between(j, dx, p.width - 1), between(i, dy, p.height - 1));
  const auto byte = [&](float from, float to) {
    return static_cast<uint8_t>(mix(from, 255 * to, mask) + 0.5f);
  };
  return {byte(warped.red, paint.red), byte(warped.green, paint.green),
          byte(warped.blue, paint.blue)};
}

constexpr int kQuad = 4;  // pixels a thread writes: three whole words where they are aligned

// The k-th four pixels of row i that begin at a multiple of four in the frame.
MOUE_PORTABLE void blend_quad(const Blend& p, int frame, int32_t i, int32_t k) {
  const Row row = p.rows[i];
  const int64_t start = int64_t{i} * p.width;
  const auto j = static_cast<int32_t>(((start + row.begin) / kQuad + k) * kQuad - start);
  if (j >= row.end) return;
  uint8_t* out = p.out + (int64_t{frame} * p.height * p.width + start + j) * 3;
  if (j >= row.begin && j + kQuad <= row.end && reinterpret_cast<uintptr_t>(out) % 4 == 0) {
    union {
      Bytes3 pixel[kQuad];
      uint32_t word[3];
    } quad;
    for (int c = 0; c < kQuad; ++c) quad.pixel[c] = blended(p, frame, i, j + c);
    for (int w = 0; w < 3; ++w) reinterpret_cast<uint32_t*>(out)[w] = quad.word[w];
    return;
  }
  for (int c = 0; c < kQuad; ++c) {
    if (j + c < row.begin || j + c >= row.end) continue;
    const Bytes3 rgb = blended(p, frame, i, j + c);
    out[3 * c] = rgb.red;
    out[3 * c + 1] = rgb.green;
    out[3 * c + 2] = rgb.blue;
  }
}

inline int32_t quads(const Blend& p) { return (p.most_pixels + 2 * kQuad - 2) / kQuad; }

void compose_on_host(const Cells& cells, const Blend& blend);
void compose_on_device(const Cells& cells, const Blend& blend, void* stream);

}  // namespace moue

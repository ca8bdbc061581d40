#include "compose.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "parallel.h"
#include "sample.h"
#include "simd.h"
#include "square_rows.h"

namespace moue {
namespace {

constexpr int64_t kRun = 64;     // pixels that pass through the steps below together
constexpr float kFar = 1 << 23;  // pixels, further than any motion
constexpr float kThin = 0x1p-9f;  // a mask that changes no pixel by half a level

// What a frame needs to know at one place of the square, side by side in memory: red, green, blue,
// 255 for full light, and zero, then to where the pixel comes from, x and y in photo pixels, the
// mask, and zero.
struct alignas(32) Cell {
  float light[4], motion[4];
};
using Float8 = float __attribute__((vector_size(32)));

// A pixel of the mouth's picture.
struct Node {
  float x, y;
};

// The maps as cells with their edges repeated once around: [size + 2, size + 2].
struct Grid {
  int64_t size, stride;
  Cell* cells;
};

// The same of where the mouth is looked up: [rows + 2, columns + 2]. The window begins at `left`,
// `top`, counted in nodes as the grid's positions are in cells; so many nodes lie in a cell.
struct Nodes {
  int32_t rows, columns;
  float left, top, per_cell;
  Node* nodes;
};

// Memory that stays with the thread from frame to frame.
template <class T>
T* room_for(int64_t count) {
  thread_local std::vector<T> room;
  if (static_cast<int64_t>(room.size()) < count) room.resize(static_cast<size_t>(count));
  return room.data();
}

// One row of the grid; to_pixels [2, 2] turns flow into photo pixels.
MOUE_VERSIONS void fill_row(const Grid& grid, int64_t i, const Maps& maps, const float* to_pixels) {
  const int64_t size = grid.size, plane = size * size,
                from = clamp<int64_t>(i - 1, 0, size - 1) * size;
  const float *x = maps.flow + from, *y = x + plane, *m = maps.mask + from;
  const float *red = maps.light + from, *green = red + plane, *blue = green + plane;
  const float xx = to_pixels[0], xy = to_pixels[1], yx = to_pixels[2], yy = to_pixels[3];
  Cell* __restrict row = grid.cells + i * grid.stride;
  for (int64_t j = 0; j < size; ++j) {
    Cell& cell = row[j + 1];
    cell.light[0] = 255 * red[j];
    cell.light[1] = 255 * green[j];
    cell.light[2] = 255 * blue[j];
    cell.light[3] = 0;
    cell.motion[0] = xx * x[j] + xy * y[j];
    cell.motion[1] = yx * x[j] + yy * y[j];
    cell.motion[2] = clamp(m[j], 0.0f, 1.0f);
    cell.motion[3] = 0;
  }
  row[0] = row[1];
  row[size + 1] = row[size];
}

Nodes fill_nodes(const Maps& maps, const Mouth& mouth) {
  const int64_t rows = maps.rows, columns = maps.columns, stride = columns + 2;
  const auto size = static_cast<double>(maps.size);
  const double per_cell = static_cast<double>(columns) / (mouth.window[2] - mouth.window[0]) / size;
  const auto height = static_cast<float>(mouth.height), width = static_cast<float>(mouth.width);
  Node* nodes = room_for<Node>((rows + 2) * stride);
  for (int64_t i = 0; i < rows + 2; ++i)
    for (int64_t j = 0; j < stride; ++j) {
      const int64_t at = clamp<int64_t>(i - 1, 0, rows - 1) * columns +
                         clamp<int64_t>(j - 1, 0, columns - 1);
      nodes[i * stride + j] = {(0.5f + maps.place[at]) * width - 0.5f,
                               (0.5f + maps.place[rows * columns + at]) * height - 0.5f};
    }
  // A grid's positions count from the centre of the cell before the first, and so do the nodes'.
  const auto before = [&](double first) {
    return static_cast<float>((0.5 + first * size) * per_cell - 0.5);
  };
  return {static_cast<int32_t>(rows), static_cast<int32_t>(columns), before(mouth.window[0]),
          before(mouth.window[1]), static_cast<float>(per_cell), nodes};
}

// The grid between a cell and its three neighbours, at the parts fx and fy of the way.
MOUE_INLINE void interpolate(const Cell* upper, const Cell* lower, float fx, float fy, Cell& out) {
  Float8 a, b, c, d;
  std::memcpy(&a, upper, sizeof a);
  std::memcpy(&b, upper + 1, sizeof b);
  std::memcpy(&c, lower, sizeof c);
  std::memcpy(&d, lower + 1, sizeof d);
  a += fx * (b - a);
  c += fx * (d - c);
  a += fy * (c - a);
  std::memcpy(&out, &a, sizeof a);
}

// Where so many pixels of a picture are looked up, and what stands there.
struct Looks {
  alignas(64) int32_t place[kRun];         // bytes to the upper left pixel
  alignas(64) int32_t below[kRun];         // bytes on to the neighbours in the next row
  alignas(64) float fx[kRun], fy[kRun];    // the way to the right and the lower ones
  alignas(64) uint32_t corners[4][kRun];   // four bytes of the picture each
};

struct Run {
  alignas(64) Cell layers[kRun];
  alignas(64) Node seen[kRun];
  alignas(64) uint32_t rgb[kRun];
  Looks looks;
};

// A position along one axis as a whole pixel within the photo and the part beyond it.
MOUE_INLINE void split(int32_t from, float motion, int32_t last, int32_t& whole, float& part) {
  const float bounded = clamp(motion, -kFar, kFar);
  const auto cut = static_cast<int32_t>(bounded);
  const int32_t down = cut - (static_cast<float>(cut) > bounded ? 1 : 0);
  const int32_t at = from + down, most = at < last ? at : last;
  whole = most > 0 ? most : 0;
  const float beyond = bounded - static_cast<float>(down);
  part = whole == at && at != last ? beyond : 0.0f;
}

// Pixel k stands at (x, y), each from a whole pixel on.
MOUE_INLINE void look(Looks& looks, int64_t k, const Photo& photo, int32_t x, float dx, int32_t y,
                      float dy) {
  const auto line = static_cast<int32_t>(photo.width * 3);
  int32_t left, top;
  split(x, dx, static_cast<int32_t>(photo.width - 1), left, looks.fx[k]);
  split(y, dy, static_cast<int32_t>(photo.height - 1), top, looks.fy[k]);
  looks.place[k] = top * line + left * 3;
  looks.below[k] = looks.fy[k] > 0 ? line : 0;
}

MOUE_INLINE void fetch(Looks& looks, int64_t begin, int64_t end, const Photo& photo) {
  for (int64_t k = begin; k < end; ++k) {
    const uint64_t above = photo.pair(looks.place[k]);
    const uint64_t below = photo.pair(looks.place[k] + looks.below[k]);
    looks.corners[0][k] = static_cast<uint32_t>(above);
    looks.corners[1][k] = static_cast<uint32_t>(above >> 24);
    looks.corners[2][k] = static_cast<uint32_t>(below);
    looks.corners[3][k] = static_cast<uint32_t>(below >> 24);
  }
}

MOUE_INLINE float channel(uint32_t bytes, int shift) {
  return static_cast<float>(static_cast<int32_t>(bytes >> shift & 0xff));
}

// One colour of what was fetched, in 0..255.
MOUE_INLINE float seen(const Looks& looks, int64_t k, int c) {
  const float fx = looks.fx[k], fy = looks.fy[k];
  const float a = channel(looks.corners[0][k], 8 * c), b = channel(looks.corners[1][k], 8 * c);
  const float d = channel(looks.corners[2][k], 8 * c), e = channel(looks.corners[3][k], 8 * c);
  const float above = a + fx * (b - a), below = d + fx * (e - d);
  return above + fy * (below - above);
}

// One colour of a pixel, rounded.
MOUE_INLINE uint32_t blend(const Run& run, int64_t k, int c) {
  const float warped = seen(run.looks, k, c), paint = clamp(run.layers[k].light[c], 0.0f, 255.0f);
  const float mixed = warped + run.layers[k].motion[2] * (paint - warped);
  return static_cast<uint32_t>(static_cast<int32_t>(mixed + 0.5f)) << 8 * c;
}

// The picture's coordinates between a node and its three neighbours, at the parts fx and fy of the way.
MOUE_INLINE Node between(const Node* upper, const Node* lower, float fx, float fy) {
  Float4 above, below;  // two nodes each
  std::memcpy(&above, upper, sizeof above);
  std::memcpy(&below, lower, sizeof below);
  above += fy * (below - above);
  return {above[0] + fx * (above[2] - above[0]), above[1] + fx * (above[3] - above[1])};
}

// The light of the pixels [begin, end) of a run, where it shows, falls on the mouth's picture. The
// run's first pixel stands at (x, y) in the grid.
MOUE_INLINE void paint_mouth(Run& run, int64_t begin, int64_t end, const Photo& picture,
                             const Nodes& nodes, float x, float y, float step_x, float step_y) {
  while (begin < end && run.layers[begin].motion[2] < kThin) ++begin;
  while (begin < end && run.layers[end - 1].motion[2] < kThin) --end;
  const auto stride = nodes.columns + 2;
  const auto right = static_cast<float>(nodes.columns), bottom = static_cast<float>(nodes.rows);
  Looks& looks = run.looks;
  for (auto k = static_cast<int32_t>(begin); k < end; ++k) {
    const auto along = static_cast<float>(k);
    const float nx = (x + along * step_x) * nodes.per_cell - nodes.left;
    const float ny = (y + along * step_y) * nodes.per_cell - nodes.top;
    const float bx = clamp(nx, 0.0f, right), by = clamp(ny, 0.0f, bottom);
    const auto x0 = static_cast<int32_t>(bx), y0 = static_cast<int32_t>(by);
    looks.place[k] = y0 * stride + x0;
    looks.fx[k] = bx - static_cast<float>(x0);
    looks.fy[k] = by - static_cast<float>(y0);
  }
  for (int64_t k = begin; k < end; ++k) {
    const Node* upper = nodes.nodes + looks.place[k];
    run.seen[k] = between(upper, upper + stride, looks.fx[k], looks.fy[k]);
  }
  for (int64_t k = begin; k < end; ++k)
    look(looks, k, picture, 0, run.seen[k].x, 0, run.seen[k].y);
  fetch(looks, begin, end, picture);
  for (int64_t k = begin; k < end; ++k)
    for (int c = 0; c < 3; ++c) run.layers[k].light[c] *= seen(looks, k, c) * (1.0f / 255);
}

// The pixels [begin, begin + count) of row i; each is (step_x, step_y) in the grid from the last.
MOUE_VERSIONS void compose_run(const Photo& photo, const Grid& grid, const Photo& picture,
                               const Nodes& nodes, const Row& row, int64_t i, int64_t begin,
                               int64_t count, float step_x, float step_y, uint8_t* out) {
  Run run;
  Looks& looks = run.looks;
  const auto stride = static_cast<int32_t>(grid.stride);
  const auto first = static_cast<float>(begin - row.begin);
  for (int32_t k = 0; k < count; ++k) {
    const float along = first + static_cast<float>(k);
    const float x = row.x + along * step_x, y = row.y + along * step_y;
    const auto x0 = static_cast<int32_t>(x), y0 = static_cast<int32_t>(y);
    looks.place[k] = y0 * stride + x0;
    looks.fx[k] = x - static_cast<float>(x0);
    looks.fy[k] = y - static_cast<float>(y0);
  }
  for (int64_t k = 0; k < count; ++k) {
    const Cell* upper = grid.cells + looks.place[k];
    interpolate(upper, upper + stride, looks.fx[k], looks.fy[k], run.layers[k]);
  }
  const int64_t mouth = std::max<int64_t>(row.mouth.begin - begin, 0);
  const int64_t beyond = std::min<int64_t>(row.mouth.end - begin, count);
  if (mouth < beyond)
    paint_mouth(run, mouth, beyond, picture, nodes, row.x + first * step_x, row.y + first * step_y,
                step_x, step_y);
  const auto x = static_cast<int32_t>(begin), y = static_cast<int32_t>(i);
  for (int32_t k = 0; k < count; ++k)
    look(looks, k, photo, x + k, run.layers[k].motion[0], y, run.layers[k].motion[1]);
  fetch(looks, 0, count, photo);
  for (int64_t k = 0; k < count; ++k)
    run.rgb[k] = blend(run, k, 0) | blend(run, k, 1) | blend(run, k, 2);
  for (int64_t k = 0; k + 1 < count; ++k)  // its fourth byte is the next pixel's first
    std::memcpy(out + 3 * k, &run.rgb[k], 4);
  std::memcpy(out + 3 * (count - 1), &run.rgb[count - 1], 3);
}

}  // namespace

void compose(const uint8_t* pixels, int64_t height, int64_t width, const double* m,
             const Maps& maps, const Mouth& mouth, uint8_t* out, int threads) {
  const double determinant = m[0] * m[4] - m[1] * m[3];
  const float to_pixels[4] = {
      static_cast<float>(m[4] / determinant), static_cast<float>(-m[1] / determinant),
      static_cast<float>(-m[3] / determinant), static_cast<float>(m[0] / determinant)};
  const int64_t size = maps.size, stride = size + 2;
  const Grid grid{size, stride, room_for<Cell>(stride * stride)};
  const Nodes nodes = fill_nodes(maps, mouth);
  parallel_for(stride, 32, threads, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) fill_row(grid, i, maps, to_pixels);
  });

  const Photo photo{pixels, height, width}, picture{mouth.picture, mouth.height, mouth.width};
  const Window window = {mouth.window[0], mouth.window[1], mouth.window[2], mouth.window[3]};
  const auto cells = static_cast<double>(size);
  const auto step_x = static_cast<float>(m[0] * cells), step_y = static_cast<float>(m[3] * cells);
  parallel_for(height, 16, threads, [&](int64_t first, int64_t last) {
    for (int64_t i = first; i < last; ++i) {
      const Row row = square_row(m, i, width, size, window);
      for (int64_t j = row.begin; j < row.end; j += kRun)
        compose_run(photo, grid, picture, nodes, row, i, j, std::min(kRun, row.end - j), step_x,
                    step_y, out + (i * width + j) * 3);
    }
  });
}

}  // namespace moue

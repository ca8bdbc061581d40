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

// What a frame needs to know at one place of the square, side by side in memory: red, green, blue in
// 0..255 and zero, then to where the pixel comes from, x and y in photo pixels, the mask, and zero.
struct alignas(32) Cell {
  float paint[4], motion[4];
};
using Float8 = float __attribute__((vector_size(32)));

// The maps as cells with their edges repeated once around: [size + 2, size + 2].
struct Grid {
  int64_t size, stride;
  Cell* cells;
};

// Memory for the cells that stays with the thread from frame to frame.
Cell* cells_for(int64_t count) {
  thread_local std::vector<Cell> cells;
  if (static_cast<int64_t>(cells.size()) < count) cells.resize(static_cast<size_t>(count));
  return cells.data();
}

// One row of the grid; to_pixels [2, 2] turns flow into photo pixels.
MOUE_VERSIONS void fill_row(const Grid& grid, int64_t i, const float* flow, const float* mask,
                            const float* colour, const float* to_pixels) {
  const int64_t size = grid.size, plane = size * size,
                from = clamp<int64_t>(i - 1, 0, size - 1) * size;
  const float *x = flow + from, *y = x + plane, *m = mask + from;
  const float *red = colour + from, *green = red + plane, *blue = green + plane;
  const float xx = to_pixels[0], xy = to_pixels[1], yx = to_pixels[2], yy = to_pixels[3];
  Cell* __restrict row = grid.cells + i * grid.stride;
  for (int64_t j = 0; j < size; ++j) {
    Cell& cell = row[j + 1];
    cell.paint[0] = 255 * clamp(red[j], 0.0f, 1.0f);
    cell.paint[1] = 255 * clamp(green[j], 0.0f, 1.0f);
    cell.paint[2] = 255 * clamp(blue[j], 0.0f, 1.0f);
    cell.paint[3] = 0;
    cell.motion[0] = xx * x[j] + xy * y[j];
    cell.motion[1] = yx * x[j] + yy * y[j];
    cell.motion[2] = clamp(m[j], 0.0f, 1.0f);
    cell.motion[3] = 0;
  }
  row[0] = row[1];
  row[size + 1] = row[size];
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

// The same for every pixel of a run.
struct Run {
  alignas(64) Cell layers[kRun];
  alignas(64) int32_t place[kRun];       // in the grid, then in the photo
  alignas(64) int32_t below[kRun];       // bytes on to the neighbours in the next row there
  alignas(64) float fx[kRun], fy[kRun];  // the way to the right and the lower ones
  alignas(64) uint32_t corners[4][kRun];         // four bytes of the photo each
  alignas(64) uint32_t rgb[kRun];
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

MOUE_INLINE float channel(uint32_t bytes, int shift) {
  return static_cast<float>(static_cast<int32_t>(bytes >> shift & 0xff));
}

// One colour of a pixel, rounded.
MOUE_INLINE uint32_t blend(const Run& run, int64_t k, int c) {
  const float fx = run.fx[k], fy = run.fy[k];
  const float a = channel(run.corners[0][k], 8 * c), b = channel(run.corners[1][k], 8 * c);
  const float d = channel(run.corners[2][k], 8 * c), e = channel(run.corners[3][k], 8 * c);
  const float above = a + fx * (b - a), below = d + fx * (e - d);
  const float warped = above + fy * (below - above);
  const float mixed = warped + run.layers[k].motion[2] * (run.layers[k].paint[c] - warped);
  return static_cast<uint32_t>(static_cast<int32_t>(mixed + 0.5f)) << 8 * c;
}

// The pixels [begin, begin + count) of row i; each is (step_x, step_y) in the grid from the last.
MOUE_VERSIONS void compose_run(const Photo& photo, const Grid& grid, const Row& row, int64_t i,
                               int64_t begin, int64_t count, float step_x, float step_y,
                               uint8_t* out) {
  Run run;
  const auto stride = static_cast<int32_t>(grid.stride);
  const auto first = static_cast<float>(begin - row.begin);
  for (int32_t k = 0; k < count; ++k) {
    const float along = first + static_cast<float>(k);
    const float x = row.x + along * step_x, y = row.y + along * step_y;
    const auto x0 = static_cast<int32_t>(x), y0 = static_cast<int32_t>(y);
    run.place[k] = y0 * stride + x0;
    run.fx[k] = x - static_cast<float>(x0);
    run.fy[k] = y - static_cast<float>(y0);
  }
  for (int64_t k = 0; k < count; ++k) {
    const Cell* upper = grid.cells + run.place[k];
    interpolate(upper, upper + stride, run.fx[k], run.fy[k], run.layers[k]);
  }
  const auto right = static_cast<int32_t>(photo.width - 1);
  const auto bottom = static_cast<int32_t>(photo.height - 1);
  const auto line = static_cast<int32_t>(photo.width * 3);
  const auto x = static_cast<int32_t>(begin), y = static_cast<int32_t>(i);
  for (int32_t k = 0; k < count; ++k) {
    int32_t left, top;
    split(x + k, run.layers[k].motion[0], right, left, run.fx[k]);
    split(y, run.layers[k].motion[1], bottom, top, run.fy[k]);
    run.place[k] = top * line + left * 3;
    run.below[k] = run.fy[k] > 0 ? line : 0;
  }
  for (int64_t k = 0; k < count; ++k) {
    const uint64_t above = photo.pair(run.place[k]);
    const uint64_t below = photo.pair(run.place[k] + run.below[k]);
    run.corners[0][k] = static_cast<uint32_t>(above);
    run.corners[1][k] = static_cast<uint32_t>(above >> 24);
    run.corners[2][k] = static_cast<uint32_t>(below);
    run.corners[3][k] = static_cast<uint32_t>(below >> 24);
  }
  for (int64_t k = 0; k < count; ++k)
    run.rgb[k] = blend(run, k, 0) | blend(run, k, 1) | blend(run, k, 2);
  for (int64_t k = 0; k + 1 < count; ++k)  // its fourth byte is the next pixel's first
    std::memcpy(out + 3 * k, &run.rgb[k], 4);
  std::memcpy(out + 3 * (count - 1), &run.rgb[count - 1], 3);
}

}  // namespace

void compose(const uint8_t* pixels, int64_t height, int64_t width, const double* m,
             const float* flow, const float* mask, const float* colour, int64_t size, uint8_t* out,
             int threads) {
  const double determinant = m[0] * m[4] - m[1] * m[3];
  const float to_pixels[4] = {
      static_cast<float>(m[4] / determinant), static_cast<float>(-m[1] / determinant),
      static_cast<float>(-m[3] / determinant), static_cast<float>(m[0] / determinant)};
  const int64_t stride = size + 2;
  const Grid grid{size, stride, cells_for(stride * stride)};
  parallel_for(stride, 32, threads, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) fill_row(grid, i, flow, mask, colour, to_pixels);
  });

  const Photo photo{pixels, height, width};
  const auto cells = static_cast<double>(size);
  const auto step_x = static_cast<float>(m[0] * cells), step_y = static_cast<float>(m[3] * cells);
  parallel_for(height, 16, threads, [&](int64_t first, int64_t last) {
    for (int64_t i = first; i < last; ++i) {
      const Row row = square_row(m, i, width, size);
      for (int64_t j = row.begin; j < row.end; j += kRun)
        compose_run(photo, grid, row, i, j, std::min(kRun, row.end - j), step_x, step_y,
                    out + (i * width + j) * 3);
    }
  });
}

}  // namespace moue

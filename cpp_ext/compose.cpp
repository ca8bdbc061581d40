#include "compose.h"

#include <algorithm>
#include <memory>

#include "parallel.h"
#include "sample.h"

namespace moue {
namespace {

// What a frame needs to know at one place of the square, side by side in memory.
struct Cell {
  Float4 paint;   // red, green, blue in 0..255
  Float4 motion;  // to where the pixel comes from, x and y in photo pixels; the mask
};

// The maps as cells with their edges repeated once around: [size + 2, size + 2].
class Grid {
 public:
  explicit Grid(int64_t size)
      : size_(size), stride_(size + 2), cells_(new Cell[static_cast<size_t>(stride_ * stride_)]) {}

  // to_pixels [2, 2] turns flow into photo pixels.
  void fill_row(int64_t i, const float* flow, const float* mask, const float* colour,
                const float* to_pixels) const {
    const int64_t plane = size_ * size_, from = clamp<int64_t>(i - 1, 0, size_ - 1) * size_;
    Cell* row = cells_.get() + i * stride_;
    for (int64_t j = 0; j < size_; ++j) {
      const auto unit = [=](const float* map) { return clamp(map[from + j], 0.0f, 1.0f); };
      const float x = flow[from + j], y = flow[from + j + plane];
      row[j + 1].paint = 255 * Float4{unit(colour), unit(colour + plane), unit(colour + 2 * plane)};
      row[j + 1].motion = Float4{to_pixels[0] * x + to_pixels[1] * y,
                                 to_pixels[2] * x + to_pixels[3] * y, unit(mask)};
    }
    row[0] = row[1];
    row[size_ + 1] = row[size_];
  }

  // x, y count in cells from the centre of the corner cell, which is part of the repeated edge.
  bool contains(float x, float y) const {
    const auto end = static_cast<float>(size_ + 1);
    return x >= 0 && x < end && y >= 0 && y < end;
  }

  Cell at(float x, float y) const {
    const auto x0 = static_cast<int32_t>(x), y0 = static_cast<int32_t>(y);
    const float fx = x - static_cast<float>(x0), fy = y - static_cast<float>(y0);
    const Cell *top = cells_.get() + y0 * stride_ + x0, *below = top + stride_;
    return {
        lerp(lerp(top[0].paint, top[1].paint, fx), lerp(below[0].paint, below[1].paint, fx), fy),
        lerp(lerp(top[0].motion, top[1].motion, fx), lerp(below[0].motion, below[1].motion, fx),
             fy)};
  }

 private:
  int64_t size_, stride_;
  std::unique_ptr<Cell[]> cells_;
};

struct Span {
  int64_t begin, end;
};

// The pixels of one photo row whose centres lie in the square. Along a row u is monotone even after
// rounding, so they follow each other, and the divisions below are wrong by a pixel at most, which
// the test itself settles at both ends.
Span inside_square(const double* m, double y, int64_t width) {
  double low = 0, high = static_cast<double>(width);
  for (const double* row : {m, m + 3}) {
    const double start = 0.5 * row[0] + row[1] * y + row[2];
    if (row[0] == 0) {
      if (!(start >= 0 && start <= 1)) return {0, 0};
      continue;
    }
    const double a = -start / row[0], b = (1 - start) / row[0];
    low = std::max(low, std::min(a, b) - 1);
    high = std::min(high, std::max(a, b) + 2);
  }
  if (!(low < high)) return {0, 0};
  const auto inside = [=](int64_t j) {
    const double x = static_cast<double>(j) + 0.5;
    const double ux = m[0] * x + m[1] * y + m[2], uy = m[3] * x + m[4] * y + m[5];
    return ux >= 0 && ux <= 1 && uy >= 0 && uy <= 1;
  };
  auto begin = static_cast<int64_t>(low), end = static_cast<int64_t>(high);
  while (begin < end && !inside(begin)) ++begin;
  while (begin < end && !inside(end - 1)) --end;
  return {begin, end};
}

}  // namespace

void compose(const uint8_t* pixels, int64_t height, int64_t width, const double* m,
             const float* flow, const float* mask, const float* colour, int64_t size, uint8_t* out,
             int threads) {
  const double determinant = m[0] * m[4] - m[1] * m[3];
  const float to_pixels[4] = {
      static_cast<float>(m[4] / determinant), static_cast<float>(-m[1] / determinant),
      static_cast<float>(-m[3] / determinant), static_cast<float>(m[0] / determinant)};
  const Grid grid(size);
  parallel_for(size + 2, 64, threads, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) grid.fill_row(i, flow, mask, colour, to_pixels);
  });

  const Photo photo(pixels, height, width);
  const auto cells = static_cast<double>(size);
  const auto step_x = static_cast<float>(m[0] * cells), step_y = static_cast<float>(m[3] * cells);
  const auto compose_row = [&](int64_t i) {
    const double y = static_cast<double>(i) + 0.5;
    const auto [begin, end] = inside_square(m, y, width);
    const double x = static_cast<double>(begin) + 0.5;
    const auto start_x = static_cast<float>((m[0] * x + m[1] * y + m[2]) * cells + 0.5);
    const auto start_y = static_cast<float>((m[3] * x + m[4] * y + m[5]) * cells + 0.5);
    const auto last = static_cast<float>(end - 1 - begin);
    // Holds but for matrices of absurd scale, whose rounding must not lead outside the grid.
    if (begin == end || !grid.contains(start_x, start_y) ||
        !grid.contains(start_x + last * step_x, start_y + last * step_y))
      return;
    uint8_t* pixel = out + (i * width + begin) * 3;
    for (int64_t j = begin; j < end; ++j, pixel += 3) {
      const auto k = static_cast<float>(j - begin);
      const Cell cell = grid.at(start_x + k * step_x, start_y + k * step_y);
      const Float4 warped = photo.at(static_cast<double>(j) + cell.motion[0],
                                     static_cast<double>(i) + cell.motion[1]);
      const auto rgb =
          __builtin_convertvector(lerp(warped, cell.paint, cell.motion[2]) + 0.5f, Int4);
      for (int c = 0; c < 3; ++c) pixel[c] = static_cast<uint8_t>(rgb[c]);
    }
  };
  parallel_for(height, 16, threads, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) compose_row(i);
  });
}

}  // namespace moue

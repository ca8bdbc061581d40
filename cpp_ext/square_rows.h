// Which pixels of a photo lie in the face square, and where each row starts among the maps' cells.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace moue {

// A part of the face square, in its sides: left, top, right, bottom. (0, 0, 1, 1) is the square itself.
using Window = double[4];
inline constexpr Window kWholeSquare = {0, 0, 1, 1};

struct Span {
  int32_t begin, end;  // pixels of a row
};

struct Row {
  int32_t begin, end;  // the pixels whose centres lie in the square
  float x, y;          // where the first stands, in cells from the centre of the corner cell
  Span mouth;          // those of them whose centres lie in the mouth's window
};

// The pixels of row i whose centres lie in a window of the square. Along a row u is monotone even
// after rounding, so they follow each other, and the divisions below are wrong by a pixel and what
// rounding makes of a row hardly inclined at most, which the test itself settles at both ends.
inline Span row_within(const double* m, int64_t i, int64_t width, const Window& window) {
  const double y = static_cast<double>(i) + 0.5;
  double low = 0, high = static_cast<double>(width);
  for (int axis = 0; axis < 2; ++axis) {
    const double* row = m + 3 * axis;
    const double start = 0.5 * row[0] + row[1] * y + row[2];
    const double first = window[axis], last = window[axis + 2];
    if (row[0] == 0) {
      if (!(start >= first && start <= last)) return {};
      continue;
    }
    const double a = (first - start) / row[0], b = (last - start) / row[0];
    const double rounding =
        0x1p-50 * (std::abs(row[0]) * high + std::abs(row[1] * y) + std::abs(row[2]));
    const double slack = 1 + rounding / std::abs(row[0]);
    low = std::max(low, std::min(a, b) - slack);
    high = std::min(high, std::max(a, b) + slack + 1);
  }
  if (!(low < high)) return {};
  const auto inside = [&](int64_t j) {
    const double x = static_cast<double>(j) + 0.5;
    const double ux = m[0] * x + m[1] * y + m[2], uy = m[3] * x + m[4] * y + m[5];
    return ux >= window[0] && ux <= window[2] && uy >= window[1] && uy <= window[3];
  };
  auto begin = static_cast<int64_t>(low), end = static_cast<int64_t>(high);
  while (begin < end && !inside(begin)) ++begin;
  while (begin < end && !inside(end - 1)) --end;
  if (begin == end) return {};
  return {static_cast<int32_t>(begin), static_cast<int32_t>(end)};
}

// The corner cell is part of the edge that is repeated once around the maps.
inline Row square_row(const double* m, int64_t i, int64_t width, int64_t size,
                      const Window& window) {
  const Span square = row_within(m, i, width, kWholeSquare);
  if (square.begin == square.end) return {};

  const double x = square.begin + 0.5, y = static_cast<double>(i) + 0.5;
  const auto cells = static_cast<double>(size);
  const auto first_x = static_cast<float>((m[0] * x + m[1] * y + m[2]) * cells + 0.5);
  const auto first_y = static_cast<float>((m[3] * x + m[4] * y + m[5]) * cells + 0.5);
  // Holds but for matrices of absurd scale, whose rounding must not lead outside the cells.
  const auto contained = [=](float u, float v) {
    const auto most = static_cast<float>(size + 1);
    return u >= 0 && u < most && v >= 0 && v < most;
  };
  const auto last = static_cast<float>(square.end - 1 - square.begin);
  const auto step_x = static_cast<float>(m[0] * cells), step_y = static_cast<float>(m[3] * cells);
  if (!contained(first_x, first_y) || !contained(first_x + last * step_x, first_y + last * step_y))
    return {};
  Span mouth = row_within(m, i, width, window);
  mouth.begin = std::clamp(mouth.begin, square.begin, square.end);
  mouth.end = std::clamp(mouth.end, mouth.begin, square.end);
  return {square.begin, square.end, first_x, first_y, mouth};
}

}  // namespace moue

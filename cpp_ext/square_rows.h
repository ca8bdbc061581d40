// Which pixels of a photo lie in the face square, and where each row starts among the maps' cells.
#pragma once

#include <algorithm>
#include <cstdint>

namespace moue {

struct Row {
  int32_t begin, end;  // the pixels whose centres lie in the square
  float x, y;          // where the first stands, in cells from the centre of the corner cell
};

// Along a row u is monotone even after rounding, so its pixels in the square follow each other, and
// the divisions below are wrong by a pixel at most, which the test itself settles at both ends.
// The corner cell is part of the edge that is repeated once around the maps.
inline Row square_row(const double* m, int64_t i, int64_t width, int64_t size) {
  const double y = static_cast<double>(i) + 0.5;
  double low = 0, high = static_cast<double>(width);
  for (const double* row : {m, m + 3}) {
    const double start = 0.5 * row[0] + row[1] * y + row[2];
    if (row[0] == 0) {
      if (!(start >= 0 && start <= 1)) return {};
      continue;
    }
    const double a = -start / row[0], b = (1 - start) / row[0];
    low = std::max(low, std::min(a, b) - 1);
    high = std::min(high, std::max(a, b) + 2);
  }
  if (!(low < high)) return {};
  const auto inside = [=](int64_t j) {
    const double x = static_cast<double>(j) + 0.5;
    const double ux = m[0] * x + m[1] * y + m[2], uy = m[3] * x + m[4] * y + m[5];
    return ux >= 0 && ux <= 1 && uy >= 0 && uy <= 1;
  };
  auto begin = static_cast<int64_t>(low), end = static_cast<int64_t>(high);
  while (begin < end && !inside(begin)) ++begin;
  while (begin < end && !inside(end - 1)) --end;
  if (begin == end) return {};

  const double x = static_cast<double>(begin) + 0.5, cells = static_cast<double>(size);
  const auto first_x = static_cast<float>((m[0] * x + m[1] * y + m[2]) * cells + 0.5);
  const auto first_y = static_cast<float>((m[3] * x + m[4] * y + m[5]) * cells + 0.5);
  // Holds but for matrices of absurd scale, whose rounding must not lead outside the cells.
  const auto contained = [=](float u, float v) {
    const auto most = static_cast<float>(size + 1);
    return u >= 0 && u < most && v >= 0 && v < most;
  };
  const auto last = static_cast<float>(end - 1 - begin);
  const auto step_x = static_cast<float>(m[0] * cells), step_y = static_cast<float>(m[3] * cells);
  if (!contained(first_x, first_y) || !contained(first_x + last * step_x, first_y + last * step_y))
    return {};
  return {static_cast<int32_t>(begin), static_cast<int32_t>(end), first_x, first_y};
}

}  // namespace moue

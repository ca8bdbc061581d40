#include "compose.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "parallel.h"
#include "portable.h"
#include "sample.h"
#include "simd.h"
#include "square_rows.h"

namespace moue {
namespace {

constexpr int64_t kRun = 128;    // pixels that pass through the steps below together
constexpr int32_t kStep = 16;    // pixels a look at whether anything moves there takes in
constexpr int64_t kLanes = 16;   // and that, the last of a row made up, each step takes at once
constexpr float kFar = 1 << 23;  // pixels, further than any motion
constexpr float kThin = 0x1p-10f;  // a mask that changes no pixel by half a level, and counts as none

// What a frame needs to know at one place of the square: to where the pixel comes from, x and y in
// photo pixels, the mask, and zero; or red, green, blue, 255 for full light, and zero.
struct alignas(16) Cell {
  float value[4];
};

// A place in the mouth's picture, in its pixels.
struct Node {
  float x, y;
};

// The maps as cells with their edges repeated once around: [size + 2, size + 2] of each, and of each
// row the cells, from the first to the last, that move or show light.
struct Grid {
  int64_t size, stride;
  Cell *motion, *light;
  Span* alive;
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

MOUE_INLINE float shown(float mask) { return mask > kThin ? (mask < 1 ? mask : 1) : 0; }

// Whether so many places of the mask show anything.
MOUE_INLINE bool any(const float* mask, const float* rest, int64_t count) {
  int32_t some = 0;
  if (rest)
    for (int64_t j = 0; j < count; ++j) some |= mask[j] - rest[j] > kFaint + kThin ? 1 : 0;
  else
    for (int64_t j = 0; j < count; ++j) some |= mask[j] > kThin ? 1 : 0;
  return some != 0;
}

// The cells, from the first to the last, that move or show light.
MOUE_INLINE Span alive(const Cell* cells, int32_t count) {
  const auto still = [](const Cell& cell) {
    return cell.value[0] == 0 && cell.value[1] == 0 && cell.value[2] == 0;
  };
  int32_t begin = 0, end = count;
  while (begin < end && still(cells[begin])) ++begin;
  while (begin < end && still(cells[end - 1])) --end;
  return {begin, end};
}

// One row of the grid; to_pixels [2, 2] turns flow into photo pixels. Light is left as it is where
// neither this row nor the next ones show any.
MOUE_VERSIONS void fill_row(const Grid& grid, int64_t i, const Maps& maps, const float* to_pixels) {
  const int64_t size = grid.size, plane = size * size;
  const auto row_of = [=](int64_t k) { return clamp<int64_t>(k - 1, 0, size - 1) * size; };
  const int64_t from = row_of(i), before = row_of(i - 1), after = row_of(i + 1);
  const float *x = maps.flow + from, *y = x + plane, *m = maps.mask + from;
  const float *red = maps.light + from, *green = red + plane, *blue = green + plane;
  const float xx = to_pixels[0], xy = to_pixels[1], yx = to_pixels[2], yy = to_pixels[3];
  Cell* __restrict motion = grid.motion + i * grid.stride;
  const auto write = [&](int64_t j, float dx, float dy, float mask) {
    motion[j + 1] = {xx * dx + xy * dy, yx * dx + yy * dy, shown(mask), 0};
  };
  if (maps.rest_flow) {
    const float *rest_x = maps.rest_flow + from, *rest_y = rest_x + plane;
    const float* rest_m = maps.rest_mask + from;
    for (int64_t j = 0; j < size; ++j)
      write(j, settled(x[j] - rest_x[j], kStill), settled(y[j] - rest_y[j], kStill),
            settled(m[j] - rest_m[j], kFaint));
  } else {
    for (int64_t j = 0; j < size; ++j) write(j, x[j], y[j], m[j]);
  }
  motion[0] = motion[1];
  motion[size + 1] = motion[size];
  grid.alive[i] = alive(motion, static_cast<int32_t>(size + 2));
  const float* rest = maps.rest_mask ? maps.rest_mask + before : nullptr;
  if (!any(maps.mask + before, rest, after + size - before)) return;
  Cell* __restrict light = grid.light + i * grid.stride;
  for (int64_t j = 0; j < size; ++j)
    light[j + 1] = {255 * red[j], 255 * green[j], 255 * blue[j], 0};
  light[0] = light[1];
  light[size + 1] = light[size];
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

// Where so many pixels of a picture are looked up, and what stands there.
struct Looks {
  alignas(64) int32_t place[kRun];       // bytes to the upper left pixel or cell
  alignas(64) int32_t below[kRun];       // bytes on to the neighbours in the next row
  alignas(64) float fx[kRun], fy[kRun];  // the way to the right and the lower ones
  alignas(64) uint64_t upper[kRun], lower[kRun];  // two pixels of the picture each
};

struct Run {
  alignas(64) float motion[3][kRun];  // x, y, mask
  alignas(64) float light[3][kRun];
  alignas(64) Node seen[kRun];
  alignas(64) uint32_t rgb[kRun];
  Looks looks;
};

// Pixel j of each half of eight: the cells between the two that are named by their bytes, side by
// side, and their neighbours.
template <int j>
MOUE_INLINE void between_cells(const char* cells, int64_t line, const int32_t* place,
                               const float* fy, const Float8& fx, Float8& out) {
  const char *first = cells + place[j], *second = cells + place[j + 4];
  Float8 a, b, c, d;
  std::memcpy(&a, first, sizeof a);
  std::memcpy(&b, first + line, sizeof b);
  std::memcpy(&c, second, sizeof c);
  std::memcpy(&d, second + line, sizeof d);
  a += fy[j] * (b - a);
  c += fy[j + 4] * (d - c);
  const Float8 left = MOUE_SHUFFLE(a, c, 0, 1, 2, 3, 8, 9, 10, 11);
  const Float8 right = MOUE_SHUFFLE(a, c, 4, 5, 6, 7, 12, 13, 14, 15);
  out = left + MOUE_SHUFFLE(fx, fx, j, j, j, j, j + 4, j + 4, j + 4, j + 4) * (right - left);
}

// The cells at so many places, value by value; eight pixels go together, four in each half.
MOUE_INLINE void spread(const Cell* cells, int64_t stride, const Looks& looks, int64_t count,
                        float (*out)[kRun]) {
  const char* bytes = reinterpret_cast<const char*>(cells);
  const auto line = stride * static_cast<int64_t>(sizeof(Cell));
  for (int64_t k = 0; k < count; k += 8) {
    const int32_t* place = looks.place + k;
    const float* fy = looks.fy + k;
    Float8 fx, a, b, c, d;
    std::memcpy(&fx, looks.fx + k, sizeof fx);
    between_cells<0>(bytes, line, place, fy, fx, a);
    between_cells<1>(bytes, line, place, fy, fx, b);
    between_cells<2>(bytes, line, place, fy, fx, c);
    between_cells<3>(bytes, line, place, fy, fx, d);
    const Float8 xy01 = MOUE_SHUFFLE(a, b, 0, 8, 1, 9, 4, 12, 5, 13);
    const Float8 xy23 = MOUE_SHUFFLE(c, d, 0, 8, 1, 9, 4, 12, 5, 13);
    const Float8 z01 = MOUE_SHUFFLE(a, b, 2, 10, 3, 11, 6, 14, 7, 15);
    const Float8 z23 = MOUE_SHUFFLE(c, d, 2, 10, 3, 11, 6, 14, 7, 15);
    const Float8 x = MOUE_SHUFFLE(xy01, xy23, 0, 1, 8, 9, 4, 5, 12, 13);
    const Float8 y = MOUE_SHUFFLE(xy01, xy23, 2, 3, 10, 11, 6, 7, 14, 15);
    const Float8 z = MOUE_SHUFFLE(z01, z23, 0, 1, 8, 9, 4, 5, 12, 13);
    std::memcpy(out[0] + k, &x, sizeof x);
    std::memcpy(out[1] + k, &y, sizeof y);
    std::memcpy(out[2] + k, &z, sizeof z);
  }
}

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
  const auto last = static_cast<int32_t>(photo.height * photo.width * 3 - 8);
  int32_t most = 0;
  for (int64_t k = begin; k < end; ++k)
    most = std::max(most, looks.place[k] + looks.below[k]);
  if (most <= last) {
    for (int64_t k = begin; k < end; ++k) {
      const uint8_t* upper = photo.pixels + looks.place[k];
      asm("" : "+r"(upper));  // Compilers would gather these in vectors, which takes twice as long.
      std::memcpy(&looks.upper[k], upper, 8);
      std::memcpy(&looks.lower[k], upper + looks.below[k], 8);
    }
    return;
  }
  for (int64_t k = begin; k < end; ++k) {  // some of them would reach beyond the photo's last byte
    looks.upper[k] = photo.pair(looks.place[k]);
    looks.lower[k] = photo.pair(looks.place[k] + looks.below[k]);
  }
}

MOUE_INLINE float channel(uint64_t bytes, int shift) {
  return static_cast<float>(static_cast<int32_t>(static_cast<uint32_t>(bytes >> shift) & 0xff));
}

// One colour of what was fetched, in 0..255.
MOUE_INLINE float seen(const Looks& looks, int64_t k, int c) {
  const uint64_t upper = looks.upper[k], lower = looks.lower[k];
  const float a = channel(upper, 8 * c), b = channel(upper, 24 + 8 * c);
  const float d = channel(lower, 8 * c), e = channel(lower, 24 + 8 * c);
  const float above = a + looks.fx[k] * (b - a), below = d + looks.fx[k] * (e - d);
  return above + looks.fy[k] * (below - above);
}

// One colour of a pixel, rounded.
template <bool kPainted>
MOUE_INLINE uint32_t blend(const Run& run, int64_t k, int c) {
  float mixed = seen(run.looks, k, c);
  if constexpr (kPainted)
    mixed += run.motion[2][k] * (clamp(run.light[c][k], 0.0f, 255.0f) - mixed);
  return static_cast<uint32_t>(static_cast<int32_t>(mixed + 0.5f)) << 8 * c;
}

template <bool kPainted>
MOUE_INLINE void blend(Run& run, int64_t count) {
  for (int64_t k = 0; k < count; ++k)
    run.rgb[k] = blend<kPainted>(run, k, 0) | blend<kPainted>(run, k, 1) | blend<kPainted>(run, k, 2);
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
  while (begin < end && run.motion[2][begin] == 0) ++begin;
  while (begin < end && run.motion[2][end - 1] == 0) --end;
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
  for (int c = 0; c < 3; ++c)
    for (int64_t k = begin; k < end; ++k) run.light[c][k] *= seen(looks, k, c) * (1.0f / 255);
}

// The pixels [begin, begin + count) of row i; each is (step_x, step_y) in the grid from the last.
MOUE_VERSIONS void compose_run(const Photo& photo, const Grid& grid, const Photo& picture,
                               const Nodes& nodes, const Row& row, int64_t i, int64_t begin,
                               int64_t count, float step_x, float step_y, uint8_t* out) {
  Run run;
  Looks& looks = run.looks;
  const auto stride = static_cast<int32_t>(grid.stride), last = static_cast<int32_t>(count - 1);
  const auto first = static_cast<float>(begin - row.begin);
  const int64_t whole = (count + kLanes - 1) / kLanes * kLanes;
  for (int32_t k = 0; k < whole; ++k) {
    const float along = first + static_cast<float>(k < last ? k : last);
    const float x = row.x + along * step_x, y = row.y + along * step_y;
    const auto x0 = static_cast<int32_t>(x), y0 = static_cast<int32_t>(y);
    looks.place[k] = (y0 * stride + x0) * static_cast<int32_t>(sizeof(Cell));
    looks.fx[k] = x - static_cast<float>(x0);
    looks.fy[k] = y - static_cast<float>(y0);
  }
  spread(grid.motion, stride, looks, whole, run.motion);
  int32_t painted = 0;
  for (int64_t k = 0; k < whole; ++k) painted |= run.motion[2][k] > 0 ? 1 : 0;
  if (painted) {
    spread(grid.light, stride, looks, whole, run.light);
    const int64_t mouth = std::max<int64_t>(row.mouth.begin - begin, 0);
    const int64_t beyond = std::min<int64_t>(row.mouth.end - begin, count);
    if (mouth < beyond)
      paint_mouth(run, mouth, beyond, picture, nodes, row.x + first * step_x,
                  row.y + first * step_y, step_x, step_y);
  }
  const auto x = static_cast<int32_t>(begin), y = static_cast<int32_t>(i);
  for (int32_t k = 0; k < whole; ++k)
    look(looks, k, photo, x + k, run.motion[0][k], y, run.motion[1][k]);
  fetch(looks, 0, whole, photo);
  if (painted)
    blend<true>(run, whole);
  else
    blend<false>(run, whole);
  for (int64_t k = 0; k + 1 < count; ++k)  // its fourth byte is the next pixel's first
    std::memcpy(out + 3 * k, &run.rgb[k], 4);
  std::memcpy(out + 3 * (count - 1), &run.rgb[count - 1], 3);
}

// The pixels of a row, from the first to the last, that may not be the photo's own.
Span changed(const Grid& grid, const Row& row, float step_x, float step_y) {
  const auto cell = [&](int32_t j, float start, float step) {  // as compose_run counts
    return static_cast<int32_t>(start + static_cast<float>(j - row.begin) * step);
  };
  const auto still = [&](int32_t begin, int32_t end) {
    const auto [left, right] = std::minmax({cell(begin, row.x, step_x), cell(end - 1, row.x, step_x)});
    const auto [top, bottom] = std::minmax({cell(begin, row.y, step_y), cell(end - 1, row.y, step_y)});
    for (int32_t k = top; k <= bottom + 1; ++k)
      if (left < grid.alive[k].end && right + 1 >= grid.alive[k].begin) return false;
    return true;
  };
  Span span{row.begin, row.end};
  while (span.begin < span.end) {
    const int32_t end = std::min(span.begin + kStep, row.end);
    if (!still(span.begin, end)) break;
    span.begin = end;
  }
  while (span.begin < span.end) {
    const int32_t begin = std::max(span.end - kStep, span.begin);
    if (!still(begin, span.end)) break;
    span.end = begin;
  }
  return span;
}

// The photo's pixels [begin, end) of row i.
void copy(const Photo& photo, int64_t i, int64_t begin, int64_t end, uint8_t* out) {
  const int64_t first = 3 * (i * photo.width + begin);
  std::memcpy(out + first, photo.pixels + first, static_cast<size_t>(3 * (end - begin)));
}

}  // namespace

void compose(const uint8_t* pixels, int64_t height, int64_t width, const double* m,
             const Maps& maps, const Mouth& mouth, uint8_t* out, bool whole, int threads) {
  const double determinant = m[0] * m[4] - m[1] * m[3];
  const float to_pixels[4] = {
      static_cast<float>(m[4] / determinant), static_cast<float>(-m[1] / determinant),
      static_cast<float>(-m[3] / determinant), static_cast<float>(m[0] / determinant)};
  const int64_t size = maps.size, stride = size + 2;
  Cell* room = room_for<Cell>(2 * stride * stride);
  const Grid grid{size, stride, room, room + stride * stride, room_for<Span>(stride)};
  const Nodes nodes = fill_nodes(maps, mouth);
  const Photo photo{pixels, height, width}, picture{mouth.picture, mouth.height, mouth.width};
  const Window window = {mouth.window[0], mouth.window[1], mouth.window[2], mouth.window[3]};
  const auto cells = static_cast<double>(size);
  const auto step_x = static_cast<float>(m[0] * cells), step_y = static_cast<float>(m[3] * cells);
  const auto fill = [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) fill_row(grid, i, maps, to_pixels);
  };
  const auto write = [&](int64_t first, int64_t last) {
    for (int64_t i = first; i < last; ++i) {
      const Row row = square_row(m, i, width, size, window);
      const Span span = changed(grid, row, step_x, step_y);
      copy(photo, i, whole ? 0 : row.begin, span.begin, out);
      for (int64_t j = span.begin; j < span.end; j += kRun)
        compose_run(photo, grid, picture, nodes, row, i, j, std::min(kRun, span.end - j), step_x,
                    step_y, out + (i * width + j) * 3);
      copy(photo, i, span.end, whole ? width : row.end, out);
    }
  };
  parallel_steps(stride, 32, fill, height, 16, write, threads);
}

}  // namespace moue

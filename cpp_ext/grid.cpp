#include "grid.h"

#include <vector>

#include "portable.h"
#include "sample.h"
#include "simd.h"

namespace moue {
namespace {

constexpr float kUnseen = 0x1p-10f;  // a mask that changes no pixel by half a level counts as none

// Memory that stays with the thread from frame to frame; `use` tells apart what is of one type.
template <class T, int use = 0>
T* room_for(int64_t count) {
  thread_local std::vector<T> room;
  if (static_cast<int64_t>(room.size()) < count) room.resize(static_cast<size_t>(count));
  return room.data();
}

MOUE_INLINE float shown(float mask) { return mask > kUnseen ? (mask < 1 ? mask : 1) : 0; }

// Whether so many places of the mask show anything.
MOUE_INLINE bool any(const float* mask, const float* rest, int64_t count) {
  int32_t some = 0;
  if (rest)
    for (int64_t j = 0; j < count; ++j) some |= mask[j] - rest[j] > kFaint + kUnseen ? 1 : 0;
  else
    for (int64_t j = 0; j < count; ++j) some |= mask[j] > kUnseen ? 1 : 0;
  return some != 0;
}

// The cells, from the first to the last, that move or show light.
MOUE_INLINE Span alive(const float* x, const float* y, const float* mask, int32_t count) {
  const auto still = [=](int32_t k) { return x[k] == 0 && y[k] == 0 && mask[k] == 0; };
  int32_t begin = 0, end = count;
  while (begin < end && still(begin)) ++begin;
  while (begin < end && still(end - 1)) --end;
  return {begin, end};
}

// Repeats both ends of a row of the grid.
MOUE_INLINE void close_row(float* row, int64_t size) {
  row[0] = row[1];
  row[size + 1] = row[size];
}

// How far so many places of one row have moved since rest, along x or y; rest may be null.
MOUE_INLINE void settle(const float* __restrict x, const float* __restrict rest, float by,
                        int64_t count, float* __restrict out) {
  if (rest)
    for (int64_t j = 0; j < count; ++j) out[j] = settled(x[j] - rest[j], by);
  else
    for (int64_t j = 0; j < count; ++j) out[j] = x[j];
}

// Both at once through a matrix [2, 2].
MOUE_INLINE void turn(float* __restrict x, float* __restrict y, const float* m, int64_t count) {
  const float xx = m[0], xy = m[1], yx = m[2], yy = m[3];
  for (int64_t j = 0; j < count; ++j) {
    const float dx = x[j], dy = y[j];
    x[j] = xx * dx + xy * dy;
    y[j] = yx * dx + yy * dy;
  }
}

}  // namespace

Grid grid_of(const Maps& maps) {
  const int64_t size = maps.size, stride = size + 2, each = stride * stride + kLanes;
  float* const room = room_for<float>(6 * each);
  const auto map = [=](int64_t k) { return room + k * each; };
  return {size,
          stride,
          {map(0), map(1), map(2)},
          {map(3), map(4), map(5)},
          room_for<Span>(stride),
          maps.faded};
}

MOUE_VERSIONS void fill_row(const Grid& grid, int64_t i, const Maps& maps, const float* to_pixels) {
  const int64_t size = grid.size, plane = size * size;
  const auto row_of = [=](int64_t k) { return clamp<int64_t>(k - 1, 0, size - 1) * size; };
  const int64_t from = row_of(i), before = row_of(i - 1), after = row_of(i + 1);
  float* to[3];
  for (int c = 0; c < 3; ++c) to[c] = grid.motion[c] + i * grid.stride;
  for (int c = 0; c < 2; ++c)
    settle(maps.flow + c * plane + from,
           maps.rest_flow ? maps.rest_flow + c * plane + from : nullptr, kStill, size, to[c] + 1);
  turn(to[0] + 1, to[1] + 1, to_pixels, size);
  settle(maps.mask + from, maps.rest_mask ? maps.rest_mask + from : nullptr, kFaint, size,
         to[2] + 1);
  for (int64_t j = 1; j <= size; ++j) to[2][j] = shown(to[2][j]);
  for (float* const row : to) close_row(row, size);
  grid.alive[i] = alive(to[0], to[1], to[2], static_cast<int32_t>(size + 2));
  const float* rest = maps.rest_mask ? maps.rest_mask + before : nullptr;
  if (!any(maps.mask + before, rest, after + size - before)) return;
  for (int c = 0; c < 3; ++c) {
    const float* __restrict light = maps.light + c * plane + from;
    float* __restrict full = grid.light[c] + i * grid.stride;
    for (int64_t j = 0; j < size; ++j) full[j + 1] = 255 * light[j];
    close_row(full, size);
  }
}

Nodes nodes_of(const Maps& maps, const Mouth& mouth) {
  const int64_t rows = maps.rows, columns = maps.columns, stride = columns + 2;
  const auto size = static_cast<double>(maps.size);
  const double per_cell = static_cast<double>(columns) / (mouth.window[2] - mouth.window[0]) / size;
  const int64_t each = (rows + 2) * stride + kLanes;  // as far as nodes read together may reach
  float* const room = room_for<float, 1>(2 * each);
  const float sides[2] = {static_cast<float>(mouth.width), static_cast<float>(mouth.height)};
  for (int64_t c = 0; c < 2; ++c)
    for (int64_t i = 0; i < rows + 2; ++i)
      for (int64_t j = 0; j < stride; ++j) {
        const int64_t at =
            clamp<int64_t>(i - 1, 0, rows - 1) * columns + clamp<int64_t>(j - 1, 0, columns - 1);
        room[c * each + i * stride + j] =
            (0.5f + maps.place[c * rows * columns + at]) * sides[c] - 0.5f;
      }
  // A grid's positions count from the centre of the cell before the first, and so do the nodes'.
  const auto before = [&](double first) {
    return static_cast<float>((0.5 + first * size) * per_cell - 0.5);
  };
  return {rows,
          columns,
          stride,
          before(mouth.window[0]),
          before(mouth.window[1]),
          static_cast<float>(per_cell),
          {room, room + each}};
}

}  // namespace moue

#include "compose.h"

#include <algorithm>
#include <cstring>

#include "grid.h"
#include "parallel.h"
#include "portable.h"
#include "sample.h"
#include "simd.h"
#include "square_rows.h"

namespace moue {
namespace {

constexpr int64_t kRun = 128;    // pixels that pass through the steps below together
constexpr int32_t kStep = 32;    // pixels a look at whether anything moves there takes in
constexpr int64_t kAhead = 6;    // rows: as far on, photo and frame are asked for in time
constexpr float kFar = 1 << 23;  // pixels, further than any motion

using Bytes = uint8_t __attribute__((vector_size(16)));

// Where so many pixels of a picture are looked up, and what stands there.
struct Looks {
  alignas(64) int32_t place[kRun];                // bytes to the upper left pixel
  alignas(64) float fx[kRun], fy[kRun];           // the way to the right and the lower ones
  alignas(64) uint64_t upper[kRun], lower[kRun];  // two pixels of the picture each
};

// Where so many pixels stand among the cells: the upper left one, and the way from there.
struct Stands {
  alignas(64) int32_t column[kRun], row[kRun];
  alignas(64) float fx[kRun], fy[kRun];
};

struct Run {
  alignas(64) float motion[3][kRun];  // x, y, mask
  alignas(64) float light[3][kRun];
  alignas(64) float seen[2][kRun];  // in the mouth's picture, x and y
  alignas(64) uint32_t rgb[kRun];
  Stands stands, nodes;
  Looks looks;
};

// k, k + 1, … k + N - 1.
template <int N>
MOUE_INLINE void number(int64_t k, typename Lanes<N>::Float& out) {
  constexpr float kCount[kLanes] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  std::memcpy(&out, kCount, sizeof out);
  out += static_cast<float>(k);
}

// Pixels [k, k + N) of a run stand at (x, y), neither less than 0.
template <int N>
MOUE_INLINE void stand(Stands& stands, int64_t k, const typename Lanes<N>::Float& x,
                       const typename Lanes<N>::Float& y) {
  using Float = typename Lanes<N>::Float;
  using Int = typename Lanes<N>::Int;
  const Int column = __builtin_convertvector(x, Int), row = __builtin_convertvector(y, Int);
  const Float fx = x - __builtin_convertvector(column, Float);
  const Float fy = y - __builtin_convertvector(row, Float);
  std::memcpy(stands.column + k, &column, sizeof column);
  std::memcpy(stands.row + k, &row, sizeof row);
  std::memcpy(stands.fx + k, &fx, sizeof fx);
  std::memcpy(stands.fy + k, &fy, sizeof fy);
}

// The cells of some maps at the pixels [k, k + N) of a run, whose columns and rows only rise or
// only fall. Neighbours share most of their cells: where these are no more than N in a row, they
// are read together and dealt out.
template <int N, int kMaps>
MOUE_INLINE void spread(float* const (&maps)[kMaps], int64_t stride, const Stands& stands,
                        int64_t k, float (&out)[kMaps][kRun]) {
  using Float = typename Lanes<N>::Float;
  using Int = typename Lanes<N>::Int;
  const auto [left, right] = std::minmax({stands.column[k], stands.column[k + N - 1]});
  const auto [top, bottom] = std::minmax({stands.row[k], stands.row[k + N - 1]});
  Float fx, fy, upper_left{}, upper_right{}, lower_left{}, lower_right{};
  Int across, down;
  std::memcpy(&fx, stands.fx + k, sizeof fx);
  std::memcpy(&fy, stands.fy + k, sizeof fy);
  std::memcpy(&across, stands.column + k, sizeof across);
  std::memcpy(&down, stands.row + k, sizeof down);
  across -= left;
  for (int c = 0; c < kMaps; ++c) {
    if (right - left < N) {
      const float* cells = maps[c] + top * stride + left;
      deal<N>(cells, across, upper_left);
      deal<N>(cells + 1, across, upper_right);
      deal<N>(cells += stride, across, lower_left);
      deal<N>(cells + 1, across, lower_right);
      for (int32_t row = top + 1; row <= bottom; ++row) {
        const Int beyond = down >= row;
        upper_left = beyond ? lower_left : upper_left;
        upper_right = beyond ? lower_right : upper_right;
        Float next;
        deal<N>(cells += stride, across, next);
        lower_left = beyond ? next : lower_left;
        deal<N>(cells + 1, across, next);
        lower_right = beyond ? next : lower_right;
      }
    } else {
      for (int j = 0; j < N; ++j) {
        const float* cell = maps[c] + stands.row[k + j] * stride + stands.column[k + j];
        upper_left[j] = cell[0];
        upper_right[j] = cell[1];
        lower_left[j] = cell[stride];
        lower_right[j] = cell[stride + 1];
      }
    }
    const Float before = upper_left + fy * (lower_left - upper_left);
    const Float after = upper_right + fy * (lower_right - upper_right);
    const Float here = before + fx * (after - before);
    std::memcpy(out[c] + k, &here, sizeof here);
  }
}

// A position along one axis: a whole pixel within the photo, and the part of the way to the next.
struct Place {
  int32_t whole;
  float part;
};

MOUE_INLINE Place moved(int32_t from, float motion, int32_t last) {
  const float bounded = clamp(motion, -kFar, kFar);
  const auto cut = static_cast<int32_t>(bounded);
  const int32_t down = cut - (static_cast<float>(cut) > bounded ? 1 : 0);
  const int32_t at = from + down, most = at < last ? at : last, whole = most > 0 ? most : 0;
  const float beyond = bounded - static_cast<float>(down);
  return {whole, whole == at && at != last ? beyond : 0.0f};
}

// Pixel k is looked up at these places. What is in a photo's last row is all of the way to it from
// the row before: then the lower neighbours always lie a line on, where there are two.
MOUE_INLINE void look(Looks& looks, int64_t k, const Photo& photo, Place x, Place y) {
  const auto line = static_cast<int32_t>(photo.width * 3);
  const int32_t over = y.whole == static_cast<int32_t>(photo.height) - 1 && y.whole > 0 ? 1 : 0;
  looks.place[k] = (y.whole - over) * line + x.whole * 3;
  looks.fx[k] = x.part;
  looks.fy[k] = over ? 1.0f : y.part;
}

MOUE_INLINE void fetch(Looks& looks, int64_t begin, int64_t end, const Photo& photo) {
  const int64_t line = photo.height > 1 ? photo.width * 3 : 0;
  const auto last = static_cast<int32_t>(photo.height * photo.width * 3 - 8 - line);
  int32_t most = 0;
  for (int64_t k = begin; k < end; ++k) most = std::max(most, looks.place[k]);
  if (most <= last) {
    const uint8_t *upper = photo.pixels, *lower = upper + line;
#pragma GCC unroll 8
    for (int64_t k = begin; k < end; ++k) {
      int64_t place = looks.place[k];
      asm("" : "+r"(place));  // Compilers would gather these in vectors, which takes twice as long.
      std::memcpy(&looks.upper[k], upper + place, 8);
      std::memcpy(&looks.lower[k], lower + place, 8);
    }
    return;
  }
  for (int64_t k = begin; k < end; ++k) {  // some of them would reach beyond the photo's last byte
    looks.upper[k] = photo.pair(looks.place[k]);
    looks.lower[k] = photo.pair(looks.place[k] + line);
  }
}

MOUE_INLINE float channel(uint32_t bytes, int c) {
  return static_cast<float>(static_cast<int32_t>(bytes >> 8 * c & 0xff));
}

// Red, green and blue of what was fetched, in 0..255: apply(c, value) of each.
template <class Apply>
MOUE_INLINE void seen(const Looks& looks, int64_t k, const Apply& apply) {
  const uint64_t upper = looks.upper[k], lower = looks.lower[k];
  const auto a = static_cast<uint32_t>(upper), b = static_cast<uint32_t>(upper >> 24);
  const auto d = static_cast<uint32_t>(lower), e = static_cast<uint32_t>(lower >> 24);
  const float fx = looks.fx[k], fy = looks.fy[k];
  for (int c = 0; c < 3; ++c) {
    const float above = channel(a, c) + fx * (channel(b, c) - channel(a, c));
    const float below = channel(d, c) + fx * (channel(e, c) - channel(d, c));
    apply(c, above + fy * (below - above));
  }
}

// Four pixels, three bytes each.
MOUE_INLINE Bytes without_every_fourth(Bytes b) {
#ifdef __clang__
  return __builtin_shufflevector(b, b, 0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14, 3, 7, 11, 15);
#else
  return __builtin_shuffle(b, Bytes{0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14, 3, 7, 11, 15});
#endif
}

// The pixels [begin, begin + kLanes) of a run.
template <bool kPainted>
MOUE_INLINE void blend(Run& run, int64_t begin) {
  for (int64_t k = begin; k < begin + kLanes; ++k) {
    uint32_t rgb = 0;
    seen(run.looks, k, [&](int c, float colour) {
      if constexpr (kPainted)
        colour += run.motion[2][k] * (clamp(run.light[c][k], 0.0f, 255.0f) - colour);
      rgb |= static_cast<uint32_t>(static_cast<int32_t>(colour + 0.5f)) << 8 * c;
    });
    run.rgb[k] = rgb;
  }
}

// Fetches what the pixels [k, k + kLanes) of a run show of the mouth's picture; the run's first
// pixel stands at (x, y) in the grid.
template <int N>
MOUE_INLINE void see_mouth(Run& run, int64_t k, const Photo& picture, const Nodes& nodes, float x,
                           float y, float step_x, float step_y) {
  const auto right = static_cast<float>(nodes.columns), bottom = static_cast<float>(nodes.rows);
  for (int64_t j = k; j < k + kLanes; j += N) {
    typename Lanes<N>::Float along;
    number<N>(j, along);
    auto nx = (x + along * step_x) * nodes.per_cell - nodes.left;
    auto ny = (y + along * step_y) * nodes.per_cell - nodes.top;
    nx = nx > 0 ? (nx < right ? nx : right) : 0;
    ny = ny > 0 ? (ny < bottom ? ny : bottom) : 0;
    stand<N>(run.nodes, j, nx, ny);
  }
  for (int64_t j = k; j < k + kLanes; j += N)
    spread<N>(nodes.place, nodes.stride, run.nodes, j, run.seen);
  const auto last_x = static_cast<float>(picture.width - 1);
  const auto last_y = static_cast<float>(picture.height - 1);
  for (int64_t j = k; j < k + kLanes; ++j) {
    const float sx = clamp(run.seen[0][j], 0.0f, last_x), sy = clamp(run.seen[1][j], 0.0f, last_y);
    const auto left = static_cast<int32_t>(sx), top = static_cast<int32_t>(sy);
    look(run.looks, j, picture, {left, sx - static_cast<float>(left)},
         {top, sy - static_cast<float>(top)});
  }
  fetch(run.looks, k, k + kLanes, picture);
}

// The light of the same pixels falls on it, where they lie in its window, [begin, end) of the run;
// there the mask gets its edge.
MOUE_INLINE void light_mouth(Run& run, int64_t k, int64_t begin, int64_t end) {
  for (int64_t j = k; j < k + kLanes; ++j) {
    const bool inside = j >= begin && j < end;
    float& mask = run.motion[2][j];
    const float share = inside ? pictured(mask) : 0;
    mask = inside ? edged(mask) : mask;
    seen(run.looks, j, [&](int c, float colour) {
      run.light[c][j] *= 1 + share * (colour * (1.0f / 255) - 1);
    });
  }
}

// What is painted on the pixels [k, k + kLanes) loses so much of its colour.
MOUE_INLINE void fade(Run& run, int64_t k, float by) {
  for (int64_t j = k; j < k + kLanes; ++j) {
    const float grey = luma(run.light[0][j], run.light[1][j], run.light[2][j]);
    for (int c = 0; c < 3; ++c) run.light[c][j] += by * (grey - run.light[c][j]);
  }
}

// Whether any of kLanes masks is more than that.
MOUE_INLINE bool any(const float* masks, float least) {
  int32_t some = 0;
  for (int64_t j = 0; j < kLanes; ++j) some |= masks[j] > least ? 1 : 0;
  return some != 0;
}

// The pixels [begin, begin + count) of row i; each is (step_x, step_y) in the grid from the last.
template <int N>
MOUE_INLINE void compose_run(const Photo& photo, const Grid& grid, const Photo& picture,
                             const Nodes& nodes, const Row& row, int64_t i, int64_t begin,
                             int64_t count, float step_x, float step_y, uint8_t* out) {
  if (i + kAhead < photo.height) {
    const int64_t ahead = kAhead * photo.width * 3;
    const uint8_t* read = photo.pixels + (i * photo.width + begin) * 3 + ahead;
    for (int64_t k = 0; k < 3 * count; k += 64) __builtin_prefetch(read + k);
    for (int64_t k = 0; k < 3 * count; k += 64) __builtin_prefetch(out + ahead + k, 1);
  }
  Run run;
  Stands& stands = run.stands;
  Looks& looks = run.looks;
  const auto last = static_cast<float>(count - 1), first = static_cast<float>(begin - row.begin);
  const int64_t whole = (count + kLanes - 1) / kLanes * kLanes;
  for (int64_t k = 0; k < whole; k += N) {
    typename Lanes<N>::Float along;
    number<N>(k, along);
    along = first + (along < last ? along : last);
    stand<N>(stands, k, row.x + along * step_x, row.y + along * step_y);
  }
  for (int64_t k = 0; k < whole; k += N) spread<N>(grid.motion, grid.stride, stands, k, run.motion);
  const auto x = static_cast<int32_t>(begin), y = static_cast<int32_t>(i);
  const int64_t mouth = row.mouth.begin - begin, beyond = row.mouth.end - begin;
  bool painted[kRun / kLanes];
  int64_t mouths[kRun / kLanes], in_mouth = 0;
  for (int64_t k = 0; k < whole; k += kLanes) {
    painted[k / kLanes] = any(run.motion[2] + k, 0);
    if (!painted[k / kLanes]) continue;
    for (int64_t j = k; j < k + kLanes; j += N)
      spread<N>(grid.light, grid.stride, stands, j, run.light);
    if (k >= beyond || k + kLanes <= mouth || !any(run.motion[2] + k, kThin)) continue;
    see_mouth<N>(run, k, picture, nodes, row.x + first * step_x, row.y + first * step_y, step_x,
                 step_y);
    mouths[in_mouth++] = k;
  }
  for (int64_t j = 0; j < in_mouth; ++j) light_mouth(run, mouths[j], mouth, beyond);
  for (int64_t k = 0; grid.faded > 0 && k < whole; k += kLanes)
    if (painted[k / kLanes]) fade(run, k, grid.faded);
  const auto last_x = static_cast<int32_t>(photo.width - 1);
  const auto last_y = static_cast<int32_t>(photo.height - 1);
  for (int32_t k = 0; k < whole; ++k)
    look(looks, k, photo, moved(x + k, run.motion[0][k], last_x),
         moved(y, run.motion[1][k], last_y));
  fetch(looks, 0, whole, photo);
  for (int64_t k = 0; k < whole; k += kLanes)
    if (painted[k / kLanes])
      blend<true>(run, k);
    else
      blend<false>(run, k);
  int64_t k = 0;
  for (; k + 6 <= count; k += 4) {  // four bytes more are the next pixels' first
    Bytes four;
    std::memcpy(&four, run.rgb + k, sizeof four);
    four = without_every_fourth(four);
    std::memcpy(out + 3 * k, &four, sizeof four);
  }
  for (; k < count; ++k) std::memcpy(out + 3 * k, &run.rgb[k], 3);
}

// As many lanes as each processor has.
#define MOUE_COMPOSE_PIXELS(target, lanes)                                                         \
  target void compose_pixels(const Photo& photo, const Grid& grid, const Photo& picture,           \
                             const Nodes& nodes, const Row& row, int64_t i, int64_t begin,         \
                             int64_t count, float step_x, float step_y, uint8_t* out) {            \
    compose_run<lanes>(photo, grid, picture, nodes, row, i, begin, count, step_x, step_y, out);    \
  }
#ifdef MOUE_VERSIONS_BY_HAND
MOUE_COMPOSE_PIXELS(__attribute__((target("avx512f"))), 16)
MOUE_COMPOSE_PIXELS(__attribute__((target("avx2"))), 8)
MOUE_COMPOSE_PIXELS(__attribute__((target("default"))), kBaseline)
#else
MOUE_COMPOSE_PIXELS(, kBaseline)
#endif

// The pixels of a row, from the first to the last, that may not be the photo's own.
Span changed(const Grid& grid, const Row& row, float step_x, float step_y) {
  const auto cell = [&](int32_t j, float start, float step) {  // as compose_run counts
    return static_cast<int32_t>(start + static_cast<float>(j - row.begin) * step);
  };
  const auto still = [&](int32_t begin, int32_t end) {
    const auto [left, right] =
        std::minmax({cell(begin, row.x, step_x), cell(end - 1, row.x, step_x)});
    const auto [top, bottom] =
        std::minmax({cell(begin, row.y, step_y), cell(end - 1, row.y, step_y)});
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
  const int64_t size = maps.size;
  const Grid grid = grid_of(maps);
  const Nodes nodes = nodes_of(maps, mouth);
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
        compose_pixels(photo, grid, picture, nodes, row, i, j, std::min(kRun, span.end - j), step_x,
                       step_y, out + (i * width + j) * 3);
      copy(photo, i, span.end, whole ? width : row.end, out);
    }
  };
  parallel_steps(grid.stride, 32, fill, height, 16, write, threads);
}

}  // namespace moue

// The device's kernels on the host, one thread's work after another's: their arithmetic is tried
// out where there is no GPU.
#include <vector>

#include "compose_device.h"
#include "preprocess_device.h"
#include "skip_sum_device.h"

namespace moue {
namespace {

template <int kPixel>
void blend_row(const Blend& p, int frame, int32_t i) {
  const Row row = p.rows[i];
  const Parts parts = parts_of(p, frame);
  auto* out = reinterpret_cast<Bytes3*>(p.out) + (int64_t{frame} * p.height + i) * p.width;
  for (int32_t j = row.begin; j < row.end; ++j)
    out[j] = blended<kPixel>(p, parts, row, i, j);
}

}  // namespace

void skip_sum_on_host(const SkipSum& p) {
  for (int first = 0; first < p.frames; first += kAtATime) {
    std::vector<Weighted> weights;
    for (int32_t i = 0; i < p.n; ++i)
      if (const Weighted weighted = weights_of<kAtATime>(p, first, i); weighted.any())
        weights.push_back(weighted);
    for (int64_t at = 0; at < p.begin[p.levels]; at += kWide)
      sum_skips<kAtATime>(p, at, load(p.base + at), first, weights.data(),
                          static_cast<int>(weights.size()));
  }
}

void compose_on_host(const Cells& cells, const Blend& blend) {
  const int side = cells.size + 2;
  for (int frame = 0; frame < cells.frames; ++frame) {
    const float* actions = cells.actions + int64_t{frame} * cells.n;
    const bool moves = std::any_of(actions, actions + cells.n, [](float a) { return a != 0; });
    for (int i = 0; i < side; ++i)
      for (int j = 0; j < side; ++j)
        cells.cells[(int64_t{frame} * side + i) * side + j] =
            moves ? map_cell(cells, frame, i, j) : MapCell{};
    for (int32_t i = blend.first_row; i < blend.last_row; ++i)
      blend.pixel == 4 ? blend_row<4>(blend, frame, i) : blend_row<3>(blend, frame, i);
  }
}

void preprocess_on_host(const Preprocess& p) {
  for (int i = 0; i < p.size; ++i)
    for (int j = 0; j < p.size; ++j)
      p.pixel == 4 ? crop_pixel<4>(p, i, j) : crop_pixel<3>(p, i, j);
}

}  // namespace moue

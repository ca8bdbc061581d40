// The device's kernels on the host, one thread's work after another's: their arithmetic is tried
// out where there is no GPU.
#include <vector>

#include "compose_device.h"
#include "preprocess_device.h"
#include "skip_sum_device.h"

namespace moue {
namespace {

template <int kWide>
void sum_frame(const SkipSum& p, int frame, const std::vector<Weight>& weights) {
  for (int64_t at = 0; at < p.begin[p.levels]; at += kWide)
    sum_skips<kWide>(p, at, frame, weights.data(), static_cast<int>(weights.size()));
}

}  // namespace

void skip_sum_on_host(const SkipSum& p) {
  for (int frame = 0; frame < p.frames; ++frame) {
    std::vector<Weight> weights;
    for (int32_t i = 0; i < p.n; ++i)
      if (const float weight = p.actions[frame * p.n + i]; weight != 0)
        weights.push_back({weight, i});
    if (width_of(p) == 8)
      sum_frame<8>(p, frame, weights);
    else
      sum_frame<1>(p, frame, weights);
  }
}

void compose_on_host(const Cells& cells, const Blend& blend) {
  const int side = cells.size + 2;
  for (int frame = 0; frame < cells.frames; ++frame) {
    const float* actions = cells.actions + int64_t{frame} * cells.n;
    const bool moves = std::any_of(actions, actions + cells.n, [](float a) { return a != 0; });
    for (int i = 0; i < side; ++i)
      for (int j = 0; j < side; ++j)
        cells.cells[(int64_t{frame} * side + i) * side + j] = map_cell(cells, frame, i, j, moves);
    for (int32_t i = blend.first_row; i < blend.last_row; ++i)
      for (int32_t k = 0; k < quads(blend); ++k) blend_quad(blend, frame, i, k);
  }
}

void preprocess_on_host(const Preprocess& p, bool half) {
  for (int i = 0; i < p.size; ++i)
    for (int j = 0; j < p.size; ++j) half ? crop_pixel<Half>(p, i, j) : crop_pixel<float>(p, i, j);
}

}  // namespace moue

// F = e0 + sum_i a_i e_i for every feature level: eq. 7 of Fan et al., AAAI 2019.
#pragma once

#include <cstdint>
#include <vector>

#include "half.h"

namespace moue {

// base [cells], residual [n, cells], actions [frames, n]. Levels stand one after another, `sizes`
// adding up to `cells`; out holds [frames, size of the level] for each in turn.
// Residuals whose weight is zero are never read.
template <class Residual>
void skip_sum(const float* base, const Residual* residual, const float* actions, float* out,
              int64_t frames, int64_t n, const std::vector<int64_t>& sizes, int threads);

}  // namespace moue

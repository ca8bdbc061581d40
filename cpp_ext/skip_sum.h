// F = e0 + sum_i a_i e_i for one feature level: eq. 7 of Fan et al., AAAI 2019.
#pragma once

#include <cstdint>

#include "half.h"

namespace moue {

// base [size], residual [n, size], actions [frames, n], out [frames, size].
// Residuals whose weight is zero are never read.
template <class Residual>
void skip_sum(const float* base, const Residual* residual, const float* actions, float* out,
              int64_t frames, int64_t n, int64_t size, int threads);

}  // namespace moue

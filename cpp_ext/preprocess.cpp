#include "preprocess.h"

#include "parallel.h"
#include "sample.h"

namespace moue {

void preprocess(const uint8_t* pixels, int64_t height, int64_t width, const double* m, int64_t size,
                int64_t taps, float* out, int threads) {
  const Photo photo{pixels, height, width};
  const double step = 1.0 / static_cast<double>(size * taps);
  const float scale = 1.0f / (255.0f * static_cast<float>(taps * taps));
  const auto mean = [=](int64_t i, int64_t j) {
    Float4 sum = {};
    for (int64_t v = i * taps; v < (i + 1) * taps; ++v)
      for (int64_t h = j * taps; h < (j + 1) * taps; ++h) {
        const double ux = (static_cast<double>(h) + 0.5) * step;
        const double uy = (static_cast<double>(v) + 0.5) * step;
        sum += photo.at(m[0] * ux + m[1] * uy + m[2] - 0.5, m[3] * ux + m[4] * uy + m[5] - 0.5);
      }
    return sum * scale;
  };
  parallel_for(size, 4, threads, [=](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      for (int64_t j = 0; j < size; ++j) {
        const Float4 rgb = mean(i, j);
        for (int c = 0; c < 3; ++c) out[(c * size + i) * size + j] = rgb[c];
      }
  });
}

}  // namespace moue

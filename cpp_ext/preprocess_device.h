// preprocess on a device: the face square of a photo there, as the encoder takes it.
#pragma once

#include "portable.h"

namespace moue {

struct Preprocess {
  const uint8_t* photo;  // [height, width, pixel]
  Half* out;             // [3, size, size]
  int32_t height, width, pixel, size, taps;
  double to_photo[6];  // [2, 3]: photo = M (ux, uy, 1)
};

// The mean of taps x taps samples. Where they stand is found in double once an output pixel; from
// there to a sample is a short way, for which float is exact enough.
template <int kPixel>
MOUE_PORTABLE void crop_pixel(const Preprocess& p, int i, int j) {
  const double* m = p.to_photo;
  const double ux = (j + 0.5) / p.size, uy = (i + 0.5) / p.size;
  const double x = m[0] * ux + m[1] * uy + m[2] - 0.5, y = m[3] * ux + m[4] * uy + m[5] - 0.5;
  const auto whole = [](double at, int32_t length) {
    return static_cast<int32_t>(at > 0 ? (at < length ? at : length) : 0);
  };
  const int32_t x0 = whole(x, p.width), y0 = whole(y, p.height);
  const auto dx = static_cast<float>(x - x0), dy = static_cast<float>(y - y0);
  const auto step = static_cast<float>(1.0 / (double(p.size) * p.taps));
  const float a = static_cast<float>(m[0]) * step, b = static_cast<float>(m[1]) * step;
  const float c = static_cast<float>(m[3]) * step, d = static_cast<float>(m[4]) * step;
  const float middle = 0.5f * static_cast<float>(p.taps - 1);

  Colour sum = {};
  for (int v = 0; v < p.taps; ++v)
    for (int h = 0; h < p.taps; ++h) {
      const float s = static_cast<float>(h) - middle, t = static_cast<float>(v) - middle;
      const Colour rgb =
          sample<kPixel>(p.photo, p.width, between(x0, dx + (a * s + b * t), p.width - 1),
                         between(y0, dy + (c * s + d * t), p.height - 1));
      sum = {sum.red + rgb.red, sum.green + rgb.green, sum.blue + rgb.blue};
    }
  const float scale = 1.0f / (255.0f * static_cast<float>(p.taps * p.taps));
  const int64_t plane = int64_t{p.size} * p.size;
  Half* out = p.out + int64_t{i} * p.size + j;
  store(out, sum.red * scale);
  store(out + plane, sum.green * scale);
  store(out + 2 * plane, sum.blue * scale);
}

void preprocess_on_host(const Preprocess& p);
void preprocess_on_device(const Preprocess& p, void* stream);

}  // namespace moue

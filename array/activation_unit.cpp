#include "array/activation_unit.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>

namespace kintsugi::array {

void max_pool(const MaxPool& window, std::int64_t batch, std::int64_t height, std::int64_t width,
              std::int64_t channels, std::span<const std::int8_t> in, std::span<std::int8_t> out) {
  const auto [kernel, stride, padding, out_h, out_w] = window;
  if (static_cast<std::int64_t>(in.size()) != batch * height * width * channels ||
      static_cast<std::int64_t>(out.size()) != batch * out_h * out_w * channels)
    throw std::invalid_argument("max_pool: sizes of the maps do not fit");
  std::int8_t* to = out.data();
  for (std::int64_t b = 0; b < batch; ++b)
    for (std::int64_t oy = 0; oy < out_h; ++oy)
      for (std::int64_t ox = 0; ox < out_w; ++ox, to += channels) {
        std::fill_n(to, channels, std::int8_t{-128});
        const std::int64_t top = oy * stride - padding, left = ox * stride - padding;
        for (std::int64_t y = std::max<std::int64_t>(top, 0); y < std::min(top + kernel, height); ++y)
          for (std::int64_t x = std::max<std::int64_t>(left, 0); x < std::min(left + kernel, width); ++x) {
            const std::int8_t* from = in.data() + ((b * height + y) * width + x) * channels;
            for (std::int64_t c = 0; c < channels; ++c) to[c] = std::max(to[c], from[c]);
          }
      }
}

void residual_add(std::span<const std::int8_t> a, std::span<const std::int8_t> b, const ResidualAdd& r,
                  bool relu, std::span<std::int8_t> out) {
  if (a.size() != out.size() || b.size() != out.size())
    throw std::invalid_argument("residual_add: operands and result differ in size");
  for (std::size_t i = 0; i < out.size(); ++i) out[i] = residual_add(a[i], b[i], r, relu);
}

NormWindow norm_window(const LocalResponseNorm& norm, std::int64_t channels, std::int64_t c) {
  return {std::max<std::int64_t>(c - norm.size / 2, 0), std::min(c + (norm.size - 1) / 2 + 1, channels)};
}

double norm_factor(const LocalResponseNorm& norm, double sum_of_squares) {
  return std::pow(norm.k + norm.alpha / static_cast<double>(norm.size) * sum_of_squares, -norm.beta);
}

void local_response_norm(const LocalResponseNorm& norm, std::int64_t channels, double in_scale,
                         double out_scale, std::span<const std::int8_t> in, std::span<std::int8_t> out) {
  if (in.size() != out.size() || channels < 1 || static_cast<std::int64_t>(in.size()) % channels != 0)
    throw std::invalid_argument("local_response_norm: sizes of the maps do not fit");
  for (std::size_t row = 0; row < in.size(); row += static_cast<std::size_t>(channels)) {
    const std::int8_t* x = in.data() + row;
    for (std::int64_t c = 0; c < channels; ++c) {
      const NormWindow window = norm_window(norm, channels, c);
      std::int64_t squares = 0;
      for (std::int64_t j = window.begin; j < window.end; ++j) squares += x[j] * x[j];
      const double y =
          x[c] * in_scale * norm_factor(norm, in_scale * in_scale * static_cast<double>(squares));
      out[row + static_cast<std::size_t>(c)] =
          static_cast<std::int8_t>(std::clamp(std::nearbyint(y / out_scale), -127.0, 127.0));
    }
  }
}

}  // namespace kintsugi::array

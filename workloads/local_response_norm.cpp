#include "workloads/local_response_norm.h"

#include <algorithm>
#include <cmath>

namespace kintsugi::workloads {
namespace {

// The channels summed over for channel c: begin … end − 1.
struct Neighbours {
  std::int64_t begin, end;
};

Neighbours neighbours(const LocalResponseNormStage& lrn, std::int64_t channels, std::int64_t c) {
  return {std::max<std::int64_t>(c - lrn.size / 2, 0), std::min(c + (lrn.size - 1) / 2 + 1, channels)};
}

double factor(const LocalResponseNormStage& lrn, double sum_of_squares) {
  return std::pow(lrn.k + lrn.alpha / static_cast<double>(lrn.size) * sum_of_squares, -lrn.beta);
}

}  // namespace

void local_response_norm_int8(const LocalResponseNormStage& lrn, std::int64_t channels, double in_scale,
                              double out_scale, std::span<const std::int8_t> in, std::span<std::int8_t> out) {
  for (std::size_t row = 0; row < in.size(); row += static_cast<std::size_t>(channels)) {
    const std::int8_t* x = in.data() + row;
    for (std::int64_t c = 0; c < channels; ++c) {
      const Neighbours window = neighbours(lrn, channels, c);
      std::int64_t squares = 0;
      for (std::int64_t j = window.begin; j < window.end; ++j) squares += x[j] * x[j];
      const double y = x[c] * in_scale * factor(lrn, in_scale * in_scale * static_cast<double>(squares));
      out[row + static_cast<std::size_t>(c)] =
          static_cast<std::int8_t>(std::clamp(std::nearbyint(y / out_scale), -127.0, 127.0));
    }
  }
}

void local_response_norm(const LocalResponseNormStage& lrn, std::int64_t channels, std::int64_t pixels,
                         const float* in, float* out) {
  for (std::int64_t c = 0; c < channels; ++c) {
    const Neighbours window = neighbours(lrn, channels, c);
    for (std::int64_t p = 0; p < pixels; ++p) {
      double squares = 0;
      for (std::int64_t j = window.begin; j < window.end; ++j)
        squares += static_cast<double>(in[j * pixels + p]) * in[j * pixels + p];
      out[c * pixels + p] = static_cast<float>(in[c * pixels + p] * factor(lrn, squares));
    }
  }
}

}  // namespace kintsugi::workloads

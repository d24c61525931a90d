#include "training/response_norm.h"

#include <algorithm>
#include <cmath>
#include <span>
#include <vector>

namespace kintsugi::training {
namespace {

// sums[c] = Σ values[j], j = c − before … c + behind, as far as there are such channels.
void window_sums(std::span<const double> values, std::int64_t before, std::int64_t behind,
                 std::span<double> sums) {
  const auto channels = static_cast<std::int64_t>(values.size());
  for (std::int64_t c = 0; c < channels; ++c) {
    double sum = 0;
    for (std::int64_t j = std::max<std::int64_t>(c - before, 0); j <= std::min(c + behind, channels - 1);
         ++j) {
      sum += values[j];
    }
    sums[c] = sum;
  }
}

// One row at a time: d[c] and d[c]^−beta.
struct Row {
  Row(const array::LocalResponseNorm& stage, std::int64_t channels)
      : lrn(stage), denominator(channels), power(channels), scratch(channels) {}

  void see(const float* x) {
    for (std::size_t c = 0; c < scratch.size(); ++c) scratch[c] = static_cast<double>(x[c]) * x[c];
    window_sums(scratch, lrn.size / 2, (lrn.size - 1) / 2, denominator);
    for (std::size_t c = 0; c < scratch.size(); ++c) {
      denominator[c] = lrn.k + lrn.alpha / static_cast<double>(lrn.size) * denominator[c];
      power[c] = std::pow(denominator[c], -lrn.beta);
    }
  }

  const array::LocalResponseNorm& lrn;
  std::vector<double> denominator, power, scratch;
};

}  // namespace

void response_norm(const array::LocalResponseNorm& lrn, std::int64_t rows, std::int64_t channels,
                   const float* x, float* y) {
  Row row(lrn, channels);
  for (std::int64_t r = 0; r < rows; ++r, x += channels, y += channels) {
    row.see(x);
    for (std::int64_t c = 0; c < channels; ++c) y[c] = static_cast<float>(x[c] * row.power[c]);
  }
}

void response_norm_backward(const array::LocalResponseNorm& lrn, std::int64_t rows, std::int64_t channels,
                            const float* x, const float* dy, float* dx) {
  Row row(lrn, channels);
  std::vector<double> shares(channels);
  const double factor = 2 * lrn.alpha * lrn.beta / static_cast<double>(lrn.size);
  for (std::int64_t r = 0; r < rows; ++r, x += channels, dy += channels, dx += channels) {
    row.see(x);
    for (std::int64_t c = 0; c < channels; ++c) {
      row.scratch[c] = dy[c] * (x[c] * row.power[c] / row.denominator[c]);
    }
    // The window turned around: channel i is in the sums of c = i − (size−1)/2 … i + size/2.
    window_sums(row.scratch, (lrn.size - 1) / 2, lrn.size / 2, shares);
    for (std::int64_t c = 0; c < channels; ++c) {
      dx[c] = static_cast<float>(dy[c] * row.power[c] - factor * x[c] * shares[c]);
    }
  }
}

}  // namespace kintsugi::training

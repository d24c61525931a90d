#include "training/batch_norm.h"

#include <algorithm>
#include <vector>

namespace kintsugi::training {
namespace {

constexpr std::int64_t kBlockRows = 64;

// Term(r, c) summed over r for every c. The inner loop runs over channels, which are contiguous.
template <class Term>
void sum_columns(std::int64_t rows, std::int64_t channels, std::span<double> sums, Term term) {
  std::fill(sums.begin(), sums.end(), 0.0);
  std::vector<float> block(channels);
  for (std::int64_t begin = 0; begin < rows; begin += kBlockRows) {
    const std::int64_t end = std::min(rows, begin + kBlockRows);
    std::fill(block.begin(), block.end(), 0.0F);
    float* const out = block.data();
    for (std::int64_t r = begin; r < end; ++r) {
      for (std::int64_t c = 0; c < channels; ++c) out[c] += term(r, c);
    }
    for (std::int64_t c = 0; c < channels; ++c) sums[c] += static_cast<double>(out[c]);
  }
}

}  // namespace

void column_sums(const float* x, std::int64_t rows, std::int64_t channels, std::span<double> sums) {
  sum_columns(rows, channels, sums, [=](std::int64_t r, std::int64_t c) { return x[r * channels + c]; });
}

void squared_deviations(const float* x, std::int64_t rows, std::int64_t channels, std::span<const float> mean,
                        std::span<double> sums) {
  const float* const m = mean.data();
  sum_columns(rows, channels, sums, [=](std::int64_t r, std::int64_t c) {
    const float d = x[r * channels + c] - m[c];
    return d * d;
  });
}

void weighted_deviations(const float* g, const float* x, std::int64_t rows, std::int64_t channels,
                         std::span<const float> mean, std::span<double> sums) {
  const float* const m = mean.data();
  sum_columns(rows, channels, sums, [=](std::int64_t r, std::int64_t c) {
    return g[r * channels + c] * (x[r * channels + c] - m[c]);
  });
}

void batch_norm_backward(float* g, const float* x, std::int64_t rows, std::int64_t channels,
                         std::span<const float> mean, std::span<const float> scale,
                         std::span<const float> mean_g, std::span<const float> slope) {
  const float* const m = mean.data();
  const float* const a = scale.data();
  const float* const gm = mean_g.data();
  const float* const sl = slope.data();
  for (std::int64_t r = 0; r < rows; ++r) {
    float* const gr = g + r * channels;
    const float* const xr = x + r * channels;
    for (std::int64_t c = 0; c < channels; ++c) gr[c] = a[c] * (gr[c] - gm[c] - (xr[c] - m[c]) * sl[c]);
  }
}

}  // namespace kintsugi::training

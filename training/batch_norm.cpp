#include "training/batch_norm.h"

#include <algorithm>

namespace kintsugi::training {
namespace {

constexpr std::int64_t kBlockRows = 64;

}  // namespace

void ColumnMoments::reset(std::int64_t channels) {
  count_ = 0;
  mean_.assign(channels, 0.0);
  squares_.assign(channels, 0.0);
  block_mean_.resize(channels);
  block_squares_.resize(channels);
}

void ColumnMoments::add(const float* x, std::int64_t rows) {
  const auto channels = static_cast<std::int64_t>(mean_.size());
  float* const mean = block_mean_.data();
  float* const squares = block_squares_.data();
  for (std::int64_t begin = 0; begin < rows; begin += kBlockRows) {
    const std::int64_t end = std::min(rows, begin + kBlockRows);
    std::fill_n(mean, channels, 0.0F);
    std::fill_n(squares, channels, 0.0F);
    for (std::int64_t r = begin; r < end; ++r) {
      const float* const row = x + r * channels;
      for (std::int64_t c = 0; c < channels; ++c) mean[c] += row[c];
    }
    const float share = 1.0F / static_cast<float>(end - begin);
    for (std::int64_t c = 0; c < channels; ++c) mean[c] *= share;
    for (std::int64_t r = begin; r < end; ++r) {
      const float* const row = x + r * channels;
      for (std::int64_t c = 0; c < channels; ++c) {
        const float d = row[c] - mean[c];
        squares[c] += d * d;
      }
    }
    for (std::int64_t c = 0; c < channels; ++c)
      join(end - begin, static_cast<std::size_t>(c), mean[c], squares[c]);
    count_ += end - begin;
  }
}

void ColumnMoments::join(std::int64_t count, std::size_t channel, double mean, double squares) {
  const auto mine = static_cast<double>(count_), theirs = static_cast<double>(count);
  const double share = theirs / (mine + theirs), d = mean - mean_[channel];
  mean_[channel] += d * share;
  squares_[channel] += squares + d * d * mine * share;
}

void ColumnMoments::join(const ColumnMoments& other) {
  if (other.count_ == 0) return;
  for (std::size_t c = 0; c < mean_.size(); ++c) join(other.count_, c, other.mean_[c], other.squares_[c]);
  count_ += other.count_;
}

void add_gradient_sums(const float* g, const float* x, std::int64_t rows, std::int64_t channels,
                       std::span<const float> mean, std::span<double> sums, std::span<double> products) {
  std::vector<float> block(2 * channels);
  float* const sum = block.data();
  float* const product = sum + channels;
  const float* const m = mean.data();
  for (std::int64_t begin = 0; begin < rows; begin += kBlockRows) {
    const std::int64_t end = std::min(rows, begin + kBlockRows);
    std::fill(block.begin(), block.end(), 0.0F);
    for (std::int64_t r = begin; r < end; ++r) {
      const float* const gr = g + r * channels;
      const float* const xr = x + r * channels;
      if (products.empty()) {
        for (std::int64_t c = 0; c < channels; ++c) sum[c] += gr[c];
      } else {
        for (std::int64_t c = 0; c < channels; ++c) {
          sum[c] += gr[c];
          product[c] += gr[c] * (xr[c] - m[c]);
        }
      }
    }
    for (std::int64_t c = 0; c < channels; ++c) sums[c] += static_cast<double>(sum[c]);
    if (products.empty()) continue;
    for (std::int64_t c = 0; c < channels; ++c) products[c] += static_cast<double>(product[c]);
  }
}

void BatchNormGradient::apply(const float* g, const float* x_rows, std::int64_t rows, float* out) const {
  const auto channels = static_cast<std::int64_t>(mean.size());
  const float* const m = mean.data();
  const float* const a = scale.data();
  const float* const gm = mean_g.data();
  const float* const sl = slope.data();
  for (std::int64_t r = 0; r < rows; ++r) {
    const float* const gr = g + r * channels;
    const float* const xr = x_rows + r * channels;
    float* const to = out + r * channels;
    for (std::int64_t c = 0; c < channels; ++c) to[c] = a[c] * (gr[c] - gm[c] - (xr[c] - m[c]) * sl[c]);
  }
}

}  // namespace kintsugi::training

// Sums that batch-norm and bias gradients are made of, and batch-norm's backward pass.
//
// Values are rows × channels, row-major (N, H, W, C). Sums are taken in single precision over short blocks of
// rows and in double precision over the blocks, in a fixed order.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace kintsugi::training {

// Mean and squared deviations from it of every channel, in one pass over memory: blocks of rows by their own
// mean, joined as Chan, Golub and LeVeque (1979) do. Joining has an order, which the caller fixes.
class ColumnMoments {
 public:
  void reset(std::int64_t channels);
  void add(const float* x, std::int64_t rows);
  void join(const ColumnMoments& other);

  std::int64_t count() const { return count_; }
  std::span<const double> mean() const { return mean_; }
  // Σ (x − mean)².
  std::span<const double> squares() const { return squares_; }

 private:
  void join(std::int64_t count, std::size_t channel, double mean, double squares);

  std::int64_t count_ = 0;
  std::vector<double> mean_, squares_;
  std::vector<float> block_mean_, block_squares_;
};

// sums[c] += Σ_rows g[r, c], and, unless `products` is empty, products[c] += Σ_rows g[r, c] · (x[r, c] −
// mean[c]).
void add_gradient_sums(const float* g, const float* x, std::int64_t rows, std::int64_t channels,
                       std::span<const float> mean, std::span<double> sums, std::span<double> products);

// The gradient through a batch-norm whose statistics are the batch's own (Ioffe & Szegedy, 2015):
// scale[c] · (g − mean_g[c] − (x − mean[c]) · slope[c]), with scale = γ/σ, mean_g = Σg/M,
// slope = Σ g (x − mean) / (M σ²).
struct BatchNormGradient {
  const float* x = nullptr;  // what the batch-norm was given
  std::span<const float> mean, scale, mean_g, slope;

  // rows × channels; `out` may be `g`, `x_rows` are those of x.
  void apply(const float* g, const float* x_rows, std::int64_t rows, float* out) const;
};

}  // namespace kintsugi::training

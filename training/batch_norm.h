// Sums over a shard that batch-norm and bias gradients are made of, and batch-norm's backward pass.
//
// Values are rows × channels, row-major (N, H, W, C). Sums are taken in single precision over short blocks of
// rows and in double precision over the blocks, in a fixed order.
#pragma once

#include <cstdint>
#include <span>

namespace kintsugi::training {

// sums[c] = Σ_rows x[r, c].
void column_sums(const float* x, std::int64_t rows, std::int64_t channels, std::span<double> sums);

// sums[c] = Σ_rows (x[r, c] − mean[c])².
void squared_deviations(const float* x, std::int64_t rows, std::int64_t channels, std::span<const float> mean,
                        std::span<double> sums);

// sums[c] = Σ_rows g[r, c] · (x[r, c] − mean[c]).
void weighted_deviations(const float* g, const float* x, std::int64_t rows, std::int64_t channels,
                         std::span<const float> mean, std::span<double> sums);

// In place on g: g = scale[c] · (g − mean_g[c] − (x − mean[c]) · slope[c]), the gradient through a batch-norm
// whose statistics are the batch's own (Ioffe & Szegedy, 2015): scale = γ/σ, mean_g = Σg/M,
// slope = Σ g (x − mean) / (M σ²).
void batch_norm_backward(float* g, const float* x, std::int64_t rows, std::int64_t channels,
                         std::span<const float> mean, std::span<const float> scale,
                         std::span<const float> mean_g, std::span<const float> slope);

}  // namespace kintsugi::training

// What the activation unit computes besides requantisation and ReLU (array/requantize.h): max-pooling,
// residual adds and local response normalisation of int8 maps in the device's order N, H, W, C. Pure
// functions; the same arithmetic serves the host where a network file says that the host does them.
#pragma once

#include <cstdint>
#include <span>

namespace kintsugi::array {

// Positions of a window that lie outside the map (padding, or a last window that sticks out) are left out.
struct MaxPool {
  std::int64_t kernel = 2, stride = 2, padding = 0;
  std::int64_t out_h = 1, out_w = 1;
  friend bool operator==(const MaxPool&, const MaxPool&) = default;
};

// in: batch × height × width × channels; out: batch × out_h × out_w × channels, else std::invalid_argument.
void max_pool(const MaxPool& window, std::int64_t batch, std::int64_t height, std::int64_t width,
              std::int64_t channels, std::span<const std::int8_t> in, std::span<std::int8_t> out);

// The sum of two int8 maps with scales of their own: q = clamp((a · m_a + b · m_b + offset) >> shift, −127,
// 127), then ReLU. Range (checked when a network is deployed): shift 1 … 62, |multiplier| < 2^31, |offset| <
// 2^62, so that no sum leaves 64 bits.
struct ResidualAdd {
  std::int32_t multiplier_a = 0, multiplier_b = 0;
  std::int32_t shift = 1;
  std::int64_t offset = 0;
  friend bool operator==(const ResidualAdd&, const ResidualAdd&) = default;
};

// y[c] = x[c] / (k + alpha/size · Σ x[j]²)^beta, j = c − size/2 … c + (size−1)/2 (Krizhevsky et al., NIPS
// 2012, §3.3; PyTorch, Caffe).
struct LocalResponseNorm {
  std::int64_t size = 5;
  double alpha = 1e-4, beta = 0.75, k = 1;
  friend bool operator==(const LocalResponseNorm&, const LocalResponseNorm&) = default;
};

constexpr std::int8_t residual_add(std::int8_t a, std::int8_t b, const ResidualAdd& r, bool relu) {
  const std::int64_t q =
      (std::int64_t{a} * r.multiplier_a + std::int64_t{b} * r.multiplier_b + r.offset) >> r.shift;
  const std::int64_t low = relu ? 0 : -127;
  return static_cast<std::int8_t>(q < low ? low : q > 127 ? 127 : q);
}

// All of one size, else std::invalid_argument; `out` may be one of the operands.
void residual_add(std::span<const std::int8_t> a, std::span<const std::int8_t> b, const ResidualAdd& r,
                  bool relu, std::span<std::int8_t> out);

// in, out: rows × channels, not overlapping. In double precision, with S the integer sum of x[j]² over the
// window of channels: out = clamp(round-half-even(x · in_scale · (k + alpha/size · in_scale² · S)^−beta /
// out_scale), −127, 127).
void local_response_norm(const LocalResponseNorm& norm, std::int64_t channels, double in_scale,
                         double out_scale, std::span<const std::int8_t> in, std::span<std::int8_t> out);

// The channels that count for channel c, begin … end − 1, and what x[c] is multiplied by.
struct NormWindow {
  std::int64_t begin = 0, end = 0;
};
NormWindow norm_window(const LocalResponseNorm& norm, std::int64_t channels, std::int64_t c);
double norm_factor(const LocalResponseNorm& norm, double sum_of_squares);

}  // namespace kintsugi::array

// The sum of two int8 maps with scales of their own, as the host computes it:
//   q = clamp((a · m_a + b · m_b + offset) >> shift, −127, 127), then ReLU.
#pragma once

#include <cstdint>
#include <span>
#include <string>

namespace kintsugi::workloads {

// One record per add. Range (checked when a network is deployed): shift 1 … 62, |multiplier| < 2^31,
// |offset| < 2^62, so that no sum leaves 64 bits.
struct ResidualAdd {
  std::int32_t multiplier_a = 0, multiplier_b = 0;
  std::int32_t shift = 1;
  std::int64_t offset = 0;
  friend bool operator==(const ResidualAdd&, const ResidualAdd&) = default;
};

constexpr std::int8_t residual_add(std::int8_t a, std::int8_t b, const ResidualAdd& r, bool relu) {
  const std::int64_t q =
      (std::int64_t{a} * r.multiplier_a + std::int64_t{b} * r.multiplier_b + r.offset) >> r.shift;
  const std::int64_t low = relu ? 0 : -127;
  return static_cast<std::int8_t>(q < low ? low : q > 127 ? 127 : q);
}

// All of one size; `out` may be one of the operands.
void residual_add(std::span<const std::int8_t> a, std::span<const std::int8_t> b, const ResidualAdd& r,
                  bool relu, std::span<std::int8_t> out);

// The record for q = round((a · scale_a + b · scale_b) / scale_out), ties upwards, the larger multiplier as
// large as 31 bits allow. Throws common::InputError naming `where` if the shift would leave its range.
ResidualAdd choose_residual_add(double scale_a, double scale_b, double scale_out, const std::string& where);

}  // namespace kintsugi::workloads

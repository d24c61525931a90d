// Requantisation of accumulators to int8, bias folded in, as the output stage of the array does it:
//   q = clamp((int64(acc) · multiplier + offset) >> shift, −127, 127), then ReLU.
#pragma once

#include <cstdint>
#include <span>

namespace kintsugi::array {

// One output channel. Range (checked when a network is deployed): shift 1 … 62, |multiplier| < 2^31, and
// |acc · multiplier + offset| < 2^63 for every int32 acc. Laid out as in device memory: 16 bytes.
struct Requantization {
  std::int32_t multiplier = 0;
  std::int32_t shift = 1;
  std::int64_t offset = 0;
  friend bool operator==(const Requantization&, const Requantization&) = default;
};
static_assert(sizeof(Requantization) == 16);

constexpr std::int8_t requantize(std::int32_t accumulator, const Requantization& r, bool relu) {
  const std::int64_t q = (std::int64_t{accumulator} * r.multiplier + r.offset) >> r.shift;
  const std::int64_t low = relu ? 0 : -127;
  return static_cast<std::int8_t>(q < low ? low : q > 127 ? 127 : q);
}

// accumulators: M×channels row-major; out: the same shape. channels = table.size().
void requantize(std::span<const std::int32_t> accumulators, std::span<const Requantization> table, bool relu,
                std::span<std::int8_t> out);

}  // namespace kintsugi::array

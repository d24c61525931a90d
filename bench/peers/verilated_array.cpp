#include "bench/peers/verilated_array.h"

#include "VerilatedSystolic.h"

namespace kintsugi::bench {

VerilatedArray::VerilatedArray() : model_(std::make_unique<VerilatedSystolic>()) {}
VerilatedArray::~VerilatedArray() = default;

std::vector<std::int32_t> VerilatedArray::run(const std::vector<std::int8_t>& weights,
                                              const std::vector<std::int8_t>& activations,
                                              std::int64_t& cycles) {
  const std::int64_t m = std::ssize(activations) / kRows;
  std::vector<std::int32_t> results(static_cast<std::size_t>(m) * kCols);
  const std::int64_t last = kRows + m + kRows + kCols - 2;
  for (std::int64_t t = 0; t < last; ++t) {
    for (int c = 0; c < kCols; ++c) {
      const std::int64_t sent = t - c;
      const bool valid = sent >= 0 && sent < kRows;
      const std::int64_t row = kRows - 1 - sent;
      model_->weight_valid[c] = valid;
      model_->weight_row[c] = static_cast<std::uint16_t>(valid ? row : 0);
      model_->weight[c] = static_cast<std::uint8_t>(valid ? weights[row * kCols + c] : 0);
    }
    for (int r = 0; r < kRows; ++r) {
      const std::int64_t at = t - kRows - r;
      const bool valid = at >= 0 && at < m;
      model_->valid[r] = valid;
      model_->first[r] = valid && at == 0;
      model_->activation[r] = static_cast<std::uint8_t>(valid ? activations[at * kRows + r] : 0);
    }
    model_->clock = 0;
    model_->eval();
    model_->clock = 1;
    model_->eval();
    for (int c = 0; c < kCols; ++c)
      if (const std::int64_t at = t - kRows - (kRows - 1) - c; at >= 0 && at < m)
        results[at * kCols + c] = static_cast<std::int32_t>(model_->psum[c]);
  }
  cycles += last;
  return results;
}

}  // namespace kintsugi::bench

// A peer: bench/peers/systolic.sv through Verilator. Built only where Verilator is found.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

class VerilatedSystolic;

namespace kintsugi::bench {

class VerilatedArray {
 public:
  static constexpr int kRows = 256, kCols = 256;

  VerilatedArray();
  ~VerilatedArray();
  // Loads kRows×kCols weights, takes M×kRows activations through and returns M×kCols results. `cycles` is
  // increased by what it took.
  std::vector<std::int32_t> run(const std::vector<std::int8_t>& weights,
                                const std::vector<std::int8_t>& activations, std::int64_t& cycles);

 private:
  std::unique_ptr<VerilatedSystolic> model_;
};

}  // namespace kintsugi::bench

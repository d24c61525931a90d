// A peer: the fault-free array as the loop that one would write first, over flat arrays, left to the compiler
// to vectorise. No sequencer, no weight pipe, no faults: weights are in place, and one tile streams through.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

namespace kintsugi::bench {

class PlainArray {
 public:
  static constexpr int kRows = 256, kCols = 256;

  explicit PlainArray(std::vector<std::int8_t> weights);

  // Takes M×kRows activations through; returns M×kCols results. `cycles` is increased by what it took.
  // `wide`: compiled for AVX-512 (which the processor must have) instead of AVX2.
  const std::vector<std::int32_t>& run(const std::vector<std::int8_t>& activations, bool wide,
                                       std::int64_t& cycles);

 private:
  struct alignas(64) State {
    std::int32_t psums[kRows + 1][kCols];  // zeros stand above row 0
    std::int8_t activations[kRows][kCols];
    std::int8_t weights[kRows][kCols];
  };
  friend struct PlainLoop;

  std::unique_ptr<State> state_;
  std::vector<std::int32_t> results_;
};

}  // namespace kintsugi::bench

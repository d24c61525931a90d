// A peer: the fault-free array as the loop that one would write first, over flat arrays, left to the compiler
// to vectorise. No sequencer, no weight pipe, no faults: weights are in place, and one tile streams through.
#pragma once

#include <cstdint>
#include <vector>

namespace kintsugi::bench {

class PlainArray {
 public:
  PlainArray(int rows, int cols, std::vector<std::int8_t> weights);

  // Takes M×rows activations through; returns M×cols results. `cycles` is increased by what it took.
  // `wide`: compiled for AVX-512 (which the processor must have) instead of AVX2.
  std::vector<std::int32_t> run(const std::vector<std::int8_t>& activations, bool wide, std::int64_t& cycles);

 private:
  int rows_, cols_;
  std::vector<std::int8_t> weights_, activations_;
  std::vector<std::int32_t> psums_;  // one row more than the array: zeros stand above it
};

}  // namespace kintsugi::bench

// Chains where there is no AVX-512 VNNI: one column of the array for a block of stream positions: clean runs
// as sums of products, broken where a PE's own datapath must be evaluated.
//
// Activations lie transposed and in pairs of rows, [pair][position][2] as 16-bit numbers, so that one vector
// instruction multiplies two rows' worth. They are changed in place as columns pass from left to right, as
// the activation registers do.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "array/fault_plan.h"
#include "array/isa.h"
#include "array/pair_sums.h"

namespace kintsugi::array {

inline constexpr std::int64_t kChainBlock = 64;  // stream positions

// The activations of one tile as the columns see them, all rows of the array, one block of positions.
class ActivationBlock {
 public:
  // a: `positions` rows of `used` values with stride lda; rows of the array beyond `used`, and positions
  // beyond `positions`, are zero.
  void load(const std::int8_t* a, std::int64_t lda, std::int64_t positions, std::int64_t used, int rows);

  // The words of rows 2p and 2p + 1, kChainBlock of them.
  const std::int32_t* pair(std::int64_t p) const { return words_.data() + p * kChainBlock; }
  // A row's value in one of its words.
  static std::int32_t value(std::int32_t word, int row) {
    return row % 2 != 0 ? high_half(word) : low_half(word);
  }
  void apply(const ActivationFault& fault);

 private:
  std::vector<std::int32_t> words_;
};

// One column's chain for one tile: the effective weights of its clean runs and its breaks in between.
class ColumnChain {
 public:
  // weight(r) is the tile's weight of row r, for r < used; rows beyond hold zero. `altered` are the rows
  // whose activation may not be the edge's (only there can a spare row matter).
  void build(const FaultPlan& plan, int col, std::span<const std::int8_t> weights);

  // psums: kChainBlock values, overwritten with what leaves the bottom of the array.
  // Isa::avx512 is done as avx2.
  void run(Isa isa, const ActivationBlock& activations, int accumulator_bits, std::int32_t* psums) const;

  std::size_t bytes() const { return sizeof *this + words_.size() * sizeof(std::int32_t); }

 private:
  struct Run {
    std::int64_t first_pair, pairs;
    std::size_t words;  // where its weight words start
  };
  void add_run(const FaultPlan& plan, int col, std::span<const std::int8_t> weights, int begin, int end);

  std::vector<Run> runs_;            // runs_[i] precedes breaks_[i]; one more than breaks
  std::vector<std::int32_t> words_;  // two 16-bit weights each
  std::span<const ChainBreak> breaks_;
  std::vector<std::int8_t> break_weights_;
};

}  // namespace kintsugi::array

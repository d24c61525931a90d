#include "array/column_chain.h"

#include <algorithm>

namespace kintsugi::array {

namespace {

std::int32_t pair_word(std::int32_t low, std::int32_t high) {
  return static_cast<std::int32_t>((static_cast<std::uint32_t>(low) & 0xffffu) |
                                   static_cast<std::uint32_t>(high) << 16);
}

// One PE for the whole block. Inlined with a constant width and the hooks by value, this becomes vector code;
// hooks that are known to be the identity fall away. `left` is 16 for an even row, 0 for an odd one.
[[gnu::always_inline]] inline void evaluate_words(const pe::PeHooks hooks, const bool bypass,
                                                  const std::int32_t weight, const std::int32_t* words,
                                                  const int left, const int accumulator_bits,
                                                  std::int32_t* psums) {
  for (std::int64_t m = 0; m < kChainBlock; ++m) {
    const std::int32_t a = static_cast<std::int32_t>(static_cast<std::uint32_t>(words[m]) << left) >> 16;
    psums[m] = pe::evaluate(hooks, bypass, weight, a, psums[m], accumulator_bits).psum;
  }
}

[[gnu::always_inline]] inline void evaluate_block(const ChainBreak& at, const std::int32_t weight,
                                                  const std::int32_t* words, const int accumulator_bits,
                                                  std::int32_t* psums) {
  const int left = at.row % 2 != 0 ? 0 : 16;
  pe::PeHooks one;
  if (at.acting == Acting::multiplier) {
    one[pe::Site::multiplier] = at.hooks[pe::Site::multiplier];
    evaluate_words(one, false, weight, words, left, accumulator_bits, psums);
  } else if (at.acting == Acting::adder) {
    one[pe::Site::adder] = at.hooks[pe::Site::adder];
    evaluate_words(one, false, weight, words, left, accumulator_bits, psums);
  } else {
    evaluate_words(at.hooks, at.bypass, weight, words, left, accumulator_bits, psums);
  }
}

}  // namespace

void ActivationBlock::load(const std::int8_t* a, std::int64_t lda, std::int64_t positions, std::int64_t used,
                           int rows) {
  const std::int64_t pairs = (rows + 1) / 2;
  words_.assign(static_cast<std::size_t>(pairs * kChainBlock), 0);
  for (std::int64_t p = 0; p < used / 2; ++p)
    for (std::int64_t m = 0; m < positions; ++m)
      words_[p * kChainBlock + m] = pair_word(a[m * lda + 2 * p], a[m * lda + 2 * p + 1]);
  if (used % 2 != 0)
    for (std::int64_t m = 0; m < positions; ++m)
      words_[used / 2 * kChainBlock + m] = pair_word(a[m * lda + used - 1], 0);
}

void ActivationBlock::apply(const ActivationFault& fault) {
  std::int32_t* words = words_.data() + fault.row / 2 * kChainBlock;
  const pe::Hook hook = fault.hook;
  const bool odd = fault.row % 2 != 0;
  for (std::int64_t m = 0; m < kChainBlock; ++m) {
    const std::int32_t low = value(words[m], 0), high = value(words[m], 1);
    words[m] = odd ? pair_word(low, hook.apply(high, pe::kOperandBits))
                   : pair_word(hook.apply(low, pe::kOperandBits), high);
  }
}

void ColumnChain::add_run(const FaultPlan& plan, int col, std::span<const std::int8_t> weights, int begin,
                          int end) {
  const auto weight = [&](int row) {
    if (row < begin || row >= end) return std::int8_t{0};
    return plan.effective_weight(row, col,
                                 row < static_cast<int>(weights.size()) ? weights[row] : std::int8_t{0});
  };
  Run run{begin / 2, begin < end ? (end + 1) / 2 - begin / 2 : 0, words_.size()};
  for (std::int64_t p = run.first_pair; p < run.first_pair + run.pairs; ++p)
    words_.push_back(pair_word(weight(static_cast<int>(2 * p)), weight(static_cast<int>(2 * p + 1))));
  runs_.push_back(run);
}

void ColumnChain::build(const FaultPlan& plan, int col, std::span<const std::int8_t> weights) {
  runs_.clear();
  words_.clear();
  break_weights_.clear();
  breaks_ = plan.breaks[col];
  // Spare rows below the weights add nothing unless something upstream put an activation there.
  const std::vector<int>& altered = plan.altered_rows[col];
  const int last = std::max(static_cast<int>(weights.size()), altered.empty() ? 0 : altered.back() + 1);
  int begin = 0;
  for (const ChainBreak& b : breaks_) {
    add_run(plan, col, weights, begin, std::min(b.row, last));
    begin = b.row + 1;
    break_weights_.push_back(b.row < static_cast<int>(weights.size()) ? weights[b.row] : std::int8_t{0});
  }
  add_run(plan, col, weights, begin, last);
}

void ColumnChain::run(Isa isa, const ActivationBlock& activations, int accumulator_bits,
                      std::int32_t* psums) const {
  std::fill_n(psums, kChainBlock, 0);
  const auto add = isa == Isa::portable ? add_pairs_portable<kChainBlock> : add_pairs<kChainBlock>;
  for (std::size_t i = 0; i < runs_.size(); ++i) {
    const Run& clean = runs_[i];
    if (clean.pairs > 0)
      add(activations.pair(clean.first_pair), words_.data() + clean.words, clean.pairs, psums);
    if (i == breaks_.size()) break;
    const std::int32_t* words = activations.pair(breaks_[i].row / 2);
    if (accumulator_bits == 32)
      evaluate_block(breaks_[i], break_weights_[i], words, 32, psums);
    else
      evaluate_block(breaks_[i], break_weights_[i], words, accumulator_bits, psums);
  }
  for (std::int64_t m = 0; m < kChainBlock; ++m)
    psums[m] = pe::sign_extend(static_cast<std::uint32_t>(psums[m]), accumulator_bits);
}

}  // namespace kintsugi::array

#include "array/column_chain.h"

#include <immintrin.h>

#include <algorithm>
#include <cstring>

namespace kintsugi::array {

namespace {

constexpr int kLanes = 8;
constexpr int kVectors = static_cast<int>(kChainBlock) / kLanes;

std::int32_t pair_word(std::int8_t low, std::int8_t high) {
  return static_cast<std::int32_t>(static_cast<std::uint16_t>(low) |
                                   static_cast<std::uint32_t>(static_cast<std::uint16_t>(high)) << 16);
}

// psums += Σ over pairs of rows; the whole block stays in registers.
void add_pairs(const std::int16_t* activations, const std::int32_t* words, std::int64_t pairs,
               std::int32_t* psums) {
  __m256i sum[kVectors];
  for (int i = 0; i < kVectors; ++i)
    sum[i] = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(psums + i * kLanes));
  for (std::int64_t p = 0; p < pairs; ++p) {
    const __m256i weight = _mm256_set1_epi32(words[p]);
    const std::int16_t* a = activations + p * 2 * kChainBlock;
    for (int i = 0; i < kVectors; ++i)
      sum[i] = _mm256_add_epi32(
          sum[i], _mm256_madd_epi16(
                      weight, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(a + i * 2 * kLanes))));
  }
  for (int i = 0; i < kVectors; ++i)
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(psums + i * kLanes), sum[i]);
}

// One PE for the whole block. Inlined with a constant width, and with the hooks by value so that they stay in
// registers, this becomes vector code.
[[gnu::always_inline]] inline void evaluate_block(const pe::PeHooks hooks, const bool bypass,
                                                  const std::int32_t weight, const std::int16_t* a,
                                                  const int accumulator_bits, std::int32_t* psums) {
  for (std::int64_t m = 0; m < kChainBlock; ++m)
    psums[m] = pe::evaluate(hooks, bypass, weight, a[2 * m], psums[m], accumulator_bits).psum;
}

}  // namespace

void ActivationBlock::load(const std::int8_t* a, std::int64_t lda, std::int64_t positions, std::int64_t used,
                           int rows) {
  const std::int64_t pairs = (rows + 1) / 2;
  values_.assign(static_cast<std::size_t>(pairs * kChainBlock * 2), 0);
  for (std::int64_t p = 0; p < used / 2; ++p) {
    std::int16_t* to = values_.data() + p * kChainBlock * 2;
    for (std::int64_t m = 0; m < positions; ++m) {
      to[2 * m] = a[m * lda + 2 * p];
      to[2 * m + 1] = a[m * lda + 2 * p + 1];
    }
  }
  if (used % 2 != 0)
    for (std::int64_t m = 0; m < positions; ++m)
      values_[(used / 2 * kChainBlock + m) * 2] = a[m * lda + used - 1];
}

void ActivationBlock::apply(const ActivationFault& fault) {
  std::int16_t* row = values_.data() + fault.row / 2 * kChainBlock * 2 + fault.row % 2;
  for (std::int64_t m = 0; m < kChainBlock; ++m)
    row[2 * m] = static_cast<std::int16_t>(fault.hook.apply(row[2 * m], pe::kOperandBits));
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

void ColumnChain::run(const ActivationBlock& activations, int accumulator_bits, std::int32_t* psums) const {
  std::fill_n(psums, kChainBlock, 0);
  for (std::size_t i = 0; i < runs_.size(); ++i) {
    const Run& clean = runs_[i];
    if (clean.pairs > 0)
      add_pairs(activations.pair(clean.first_pair), words_.data() + clean.words, clean.pairs, psums);
    if (i == breaks_.size()) break;
    const ChainBreak& at = breaks_[i];
    const std::int16_t* a = activations.pair(at.row / 2) + at.row % 2;
    if (accumulator_bits == 32)
      evaluate_block(at.hooks, at.bypass, break_weights_[i], a, 32, psums);
    else
      evaluate_block(at.hooks, at.bypass, break_weights_[i], a, accumulator_bits, psums);
  }
  for (std::int64_t m = 0; m < kChainBlock; ++m)
    psums[m] = pe::sign_extend(static_cast<std::uint32_t>(psums[m]), accumulator_bits);
}

}  // namespace kintsugi::array

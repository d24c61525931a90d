#include "array/vnni_column.h"

#include <immintrin.h>

#include <algorithm>

#include "array/hook_mask.h"
#include "array/vnni_words.h"

namespace kintsugi::array {

namespace {

constexpr int kLanes = 16, kVectors = static_cast<int>(kColumnPositions) / kLanes;

}  // namespace

void ColumnProgram::build(const FaultPlan& plan, int column, std::int64_t used,
                          std::span<const std::int8_t> effective) {
  steps_.clear();
  segments_.clear();
  kind_ = Kind::clean;
  events_ = 0;
  const std::vector<ChainBreak>& breaks = plan.breaks[column];
  // Rows that can matter: weights, altered activations, breaks.
  int last = static_cast<int>(used);
  if (!plan.altered_rows[column].empty()) last = std::max(last, plan.altered_rows[column].back() + 1);
  if (!breaks.empty()) last = std::max(last, breaks.back().row + 1);

  constexpr std::size_t kNone = ~std::size_t{0};
  std::int32_t run = 0;            // Σw of rows since the last mask on the sum
  std::size_t last_clean = kNone;  // step of this run that can take their offset
  std::size_t run_begin = 0;       // in this segment
  const auto step = [&](int quad, bool fresh, std::uint32_t weight, const HookMask& mask,
                        std::int32_t offset) {
    return Step{quad * static_cast<std::int32_t>(kColumnPositions) | static_cast<std::int32_t>(fresh),
                static_cast<std::int32_t>(weight), mask.keep, mask.flip, offset};
  };
  auto at = breaks.begin();
  const int quads = (plan.rows + 3) / 4;
  for (int q = 0; q < quads; ++q) {
    if (q % kSegmentQuads == 0) {
      segments_.push_back(static_cast<std::uint32_t>(steps_.size()));
      run_begin = steps_.size();
    }
    if (4 * q >= last) continue;
    std::uint32_t word = 0;
    for (int r = 4 * q; r < std::min(4 * q + 4, plan.rows); ++r) {
      const std::uint32_t byte = std::uint32_t{static_cast<std::uint8_t>(effective[r])} << r % 4 * 8;
      HookMask product, sum;
      if (at != breaks.end() && at->row == r) {
        if (!at->bypass) {
          product = HookMask::of_product(at->hooks[pe::Site::multiplier]);
          sum = HookMask::of(at->hooks[pe::Site::adder]);
        }
        sum.then(HookMask::of(at->hooks[pe::Site::psum_register]));
        ++at;
      }
      if (product.identity()) {
        word |= byte;
        run += effective[r];
      } else {
        // Products come first in their run, where order is free: fewer surprises for the processor.
        if (last_clean != kNone && last_clean >= run_begin) ++last_clean;
        steps_.insert(steps_.begin() + static_cast<std::ptrdiff_t>(run_begin++),
                      step(q, true, byte, product, -128 * std::int32_t{effective[r]}));
        kind_ = Kind::products;
        ++events_;
      }
      if (!sum.identity()) {
        steps_.push_back(step(q, false, word, sum, -128 * run));
        run_begin = steps_.size();
        if (kind_ == Kind::clean) kind_ = Kind::sums;
        ++events_;
        word = 0;
        run = 0;
        last_clean = kNone;
      }
    }
    if (word != 0) {
      last_clean = steps_.size();
      steps_.push_back(step(q, false, word, {}, 0));
    }
  }
  segments_.push_back(static_cast<std::uint32_t>(steps_.size()));
  if (last_clean != kNone) steps_[last_clean].offset = -128 * run;
}

template <ColumnProgram::Kind kind>
[[gnu::always_inline, gnu::target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]] inline void
ColumnProgram::run_steps(const std::int32_t* quads, std::span<const Step> steps, bool first,
                         std::int32_t* sums) const {
  __m512i sum[kVectors];
#pragma GCC unroll 16
  for (int v = 0; v < kVectors; ++v)
    sum[v] = first ? _mm512_setzero_si512() : _mm512_load_si512(sums + v * kLanes);
  for (const Step& step : steps) {
    const __m512i weight = in_register(step.weight);
    const std::int32_t* a = quads + (step.quad & ~1);
    if (kind == Kind::clean) {
#pragma GCC unroll 16
      for (int v = 0; v < kVectors; ++v)
        sum[v] = _mm512_dpbusd_epi32(sum[v], _mm512_load_si512(a + v * kLanes), weight);
      continue;
    }
    const __m512i keep = in_register(static_cast<std::int32_t>(step.keep)),
                  flip = in_register(static_cast<std::int32_t>(step.flip)), offset = in_register(step.offset);
    if (kind == Kind::products && (step.quad & 1) != 0) {
#pragma GCC unroll 16
      for (int v = 0; v < kVectors; ++v) {
        const __m512i x = _mm512_dpbusd_epi32(offset, _mm512_load_si512(a + v * kLanes), weight);
        sum[v] = _mm512_add_epi32(sum[v], _mm512_ternarylogic_epi32(x, keep, flip, HookMask::kFunction));
      }
      continue;
    }
#pragma GCC unroll 16
    for (int v = 0; v < kVectors; ++v) {
      const __m512i x =
          _mm512_dpbusd_epi32(_mm512_add_epi32(sum[v], offset), _mm512_load_si512(a + v * kLanes), weight);
      sum[v] = _mm512_ternarylogic_epi32(x, keep, flip, HookMask::kFunction);
    }
  }
  // A clean column's one offset is that of its last step.
  const bool last = !steps.empty() && &steps.back() == &steps_.back();
  const __m512i rest = _mm512_set1_epi32(kind == Kind::clean && last ? steps_.back().offset : 0);
#pragma GCC unroll 16
  for (int v = 0; v < kVectors; ++v) _mm512_store_si512(sums + v * kLanes, _mm512_add_epi32(sum[v], rest));
}

[[gnu::target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]] void ColumnProgram::run(
    const std::int32_t* quads, int segment, std::int32_t* sums) const {
  const std::span<const Step> steps(steps_.data() + segments_[segment],
                                    steps_.data() + segments_[segment + 1]);
  const bool first = segment == 0;
  switch (kind_) {
    case Kind::clean:
      return run_steps<Kind::clean>(quads, steps, first, sums);
    case Kind::sums:
      return run_steps<Kind::sums>(quads, steps, first, sums);
    case Kind::products:
      return run_steps<Kind::products>(quads, steps, first, sums);
  }
}

}  // namespace kintsugi::array

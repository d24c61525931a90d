#include "array/vnni_chain.h"

#include <immintrin.h>

#include <algorithm>
#include <array>

#include "array/hook_mask.h"
#include "array/vnni_words.h"

namespace kintsugi::array {

namespace {

constexpr int kLanes = 16, kVectors = static_cast<int>(kVnniPositions) / kLanes;
constexpr int kMaskFunction = HookMask::kFunction;
constexpr std::int32_t kTop = static_cast<std::int32_t>(0x80808080u);

// Events are numbered kind·kVnniColumns + column.
enum Kind : std::int32_t { kProduct, kSum, kAlteredProduct, kAlteredSum, kAltered, kEnd };

std::int32_t event(Kind kind, int column) {
  return static_cast<std::int32_t>(kind) * kVnniColumns + column;
}

std::int32_t bits(std::uint32_t x) {
  return static_cast<std::int32_t>(x);
}

// 16×16 words, rows <-> columns, all in registers.
[[gnu::always_inline, gnu::target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]] inline void transpose(
    __m512i (&x)[16]) {
  __m512i y[16];
#pragma GCC unroll 16
  for (int i = 0; i < 16; i += 2) {
    y[i] = _mm512_unpacklo_epi32(x[i], x[i + 1]);
    y[i + 1] = _mm512_unpackhi_epi32(x[i], x[i + 1]);
  }
#pragma GCC unroll 16
  for (int i = 0; i < 16; i += 4) {
    x[i] = _mm512_unpacklo_epi64(y[i], y[i + 2]);
    x[i + 1] = _mm512_unpackhi_epi64(y[i], y[i + 2]);
    x[i + 2] = _mm512_unpacklo_epi64(y[i + 1], y[i + 3]);
    x[i + 3] = _mm512_unpackhi_epi64(y[i + 1], y[i + 3]);
  }
#pragma GCC unroll 16
  for (int j = 0; j < 4; ++j) {
    const __m512i a = _mm512_shuffle_i32x4(x[j], x[4 + j], 0x88),
                  b = _mm512_shuffle_i32x4(x[j], x[4 + j], 0xdd),
                  c = _mm512_shuffle_i32x4(x[8 + j], x[12 + j], 0x88),
                  d = _mm512_shuffle_i32x4(x[8 + j], x[12 + j], 0xdd);
    y[j] = _mm512_shuffle_i32x4(a, c, 0x88);
    y[4 + j] = _mm512_shuffle_i32x4(b, d, 0x88);
    y[8 + j] = _mm512_shuffle_i32x4(a, c, 0xdd);
    y[12 + j] = _mm512_shuffle_i32x4(b, d, 0xdd);
  }
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) x[i] = y[i];
}

}  // namespace

[[gnu::target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]] void QuadBlock::load(
    const std::int8_t* a, std::int64_t lda, std::int64_t positions, std::int64_t used, int rows,
    std::int64_t block) {
  quads_ = (rows + 3) / 4;
  width_ = block;
  blocks_ = (positions + width_ - 1) / width_;
  std::int32_t* const words = words_.ensure(static_cast<std::size_t>(blocks_ * quads_ * width_));
  const __m512i top = _mm512_set1_epi32(kTop);
  for (std::int64_t m0 = 0; m0 < blocks_ * width_; m0 += kLanes) {
    std::int32_t* to = words + m0 / width_ * quads_ * width_ + m0 % width_;
    for (std::int64_t q0 = 0; q0 < quads_; q0 += kLanes) {
      const std::int64_t bytes = std::clamp<std::int64_t>(used - 4 * q0, 0, 64);
      const __mmask64 there = bytes == 64 ? ~__mmask64{0} : (__mmask64{1} << bytes) - 1;
      __m512i x[16];
#pragma GCC unroll 16
      for (int i = 0; i < 16; ++i)
        x[i] =
            _mm512_xor_si512(m0 + i < positions ? _mm512_maskz_loadu_epi8(there, a + (m0 + i) * lda + 4 * q0)
                                                : _mm512_setzero_si512(),
                             top);
      transpose(x);
      const int here = static_cast<int>(std::min<std::int64_t>(kLanes, quads_ - q0));
#pragma GCC unroll 16
      for (int q = 0; q < kLanes; ++q)
        if (q < here) _mm512_store_si512(to + (q0 + q) * width_, x[q]);
    }
  }
}

std::vector<Alteration> alterations(std::span<const ActivationFault> faults) {
  std::vector<Alteration> result;
  for (const ActivationFault& fault : faults) {
    if (result.empty() || result.back().quad != fault.row / 4) result.push_back({fault.row / 4, {}});
    result.back().mask.then(HookMask::of_activation(fault.hook, fault.row));
  }
  return result;
}

[[gnu::target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]] void QuadBlock::apply(
    std::span<const Alteration> alterations) {
  for (const Alteration& one : alterations) {
    const __m512i keep = _mm512_set1_epi32(bits(one.mask.keep)),
                  flip = _mm512_set1_epi32(bits(one.mask.flip));
    for (std::int64_t b = 0; b < blocks_; ++b) {
      std::int32_t* words = words_.data() + (b * quads_ + one.quad) * width_;
      for (std::int64_t v = 0; v < width_; v += kLanes, words += kLanes)
        _mm512_store_si512(words,
                           _mm512_ternarylogic_epi32(_mm512_load_si512(words), keep, flip, kMaskFunction));
    }
  }
}

[[gnu::target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]] void add_sums(const std::int32_t* sums,
                                                                               std::int64_t count,
                                                                               int accumulator_bits, bool add,
                                                                               std::int32_t* totals) {
  const auto shift = static_cast<unsigned>(32 - accumulator_bits);
  for (std::int64_t i = 0; i < count; i += kLanes) {
    __m512i x = _mm512_load_si512(sums + i);
    if (shift != 0) x = _mm512_srai_epi32(_mm512_slli_epi32(x, shift), shift);
    if (add) x = _mm512_add_epi32(x, _mm512_load_si512(totals + i));
    _mm512_store_si512(totals + i, x);
  }
}

void ChainProgram::compile(const FaultPlan& plan, std::span<const int> columns, std::int64_t used,
                           std::span<const std::int8_t> effective) {
  // Rows that can matter: weights, altered activations, breaks.
  int last = static_cast<int>(used);
  for (const int col : columns) {
    if (!plan.altered_rows[col].empty()) last = std::max(last, plan.altered_rows[col].back() + 1);
    if (!plan.breaks[col].empty()) last = std::max(last, plan.breaks[col].back().row + 1);
  }
  // Activation registers from the first column on alter what later columns of the group see.
  for (int col = columns.front(); col < columns.back(); ++col)
    if (!plan.activations[col].empty()) last = std::max(last, plan.activations[col].back().row + 1);
  const int quads = (last + 3) / 4;

  words_.assign(static_cast<std::size_t>(quads) * kVnniColumns, 0);
  code_.clear();
  events_ = 0;
  std::fill(std::begin(start_), std::end(start_), 0);

  // Each column's list of events by quad, then merged.
  struct Event {
    int quad;
    std::int32_t number;
    int constants;
    std::array<std::int32_t, 6> constant;
  };
  std::vector<Event> events;
  std::vector<HookMask> altered(static_cast<std::size_t>(quads));
  int altered_to = columns.front();
  for (std::size_t i = 0; i < columns.size(); ++i) {
    const int col = columns[i], lane = static_cast<int>(i);
    for (; altered_to < col; ++altered_to)
      for (const ActivationFault& fault : plan.activations[altered_to])
        altered[fault.row / 4].then(HookMask::of_activation(fault.hook, fault.row));
    const std::int8_t* weights = effective.data() + i * plan.rows;
    std::int32_t run_weights = 0;            // Σw of rows since the last mask
    std::size_t last_sum = ~std::size_t{0};  // event whose D they belong to; none: start_
    const auto close_run = [&] {
      const std::int32_t d = -128 * run_weights;
      if (last_sum == ~std::size_t{0})
        start_[i] = d;
      else
        events[last_sum].constant[static_cast<std::size_t>(events[last_sum].constants) - 1] = d;
      run_weights = 0;
    };
    auto at = plan.breaks[col].begin();
    for (int q = 0; q < quads; ++q) {
      const HookMask& seen = altered[q];
      const bool is_altered = !seen.identity();
      std::uint32_t word = 0;
      for (int r = 4 * q; r < std::min(4 * q + 4, plan.rows); ++r) {
        const auto byte = [&](std::int8_t w) {
          return static_cast<std::uint32_t>(static_cast<std::uint8_t>(w)) << r % 4 * 8;
        };
        if (at == plan.breaks[col].end() || at->row != r) {
          word |= byte(weights[r]);
          run_weights += weights[r];
          continue;
        }
        const ChainBreak& one = *at++;
        const HookMask product =
            one.bypass ? HookMask{} : HookMask::of_product(one.hooks[pe::Site::multiplier]);
        HookMask sum = one.bypass ? HookMask{} : HookMask::of(one.hooks[pe::Site::adder]);
        sum.then(HookMask::of(one.hooks[pe::Site::psum_register]));
        if (product.identity()) {
          word |= byte(weights[r]);
          run_weights += weights[r];
        } else {
          Event e{q, event(is_altered ? kAlteredProduct : kProduct, lane), 0, {}};
          if (is_altered) {
            e.constant[e.constants++] = bits(seen.keep);
            e.constant[e.constants++] = bits(seen.flip);
          }
          for (const std::int32_t c : {bits(byte(weights[r])), bits(product.keep), bits(product.flip),
                                       -128 * std::int32_t{weights[r]}})
            e.constant[e.constants++] = c;
          events.push_back(e);
        }
        if (!sum.identity()) {
          Event e{q, event(is_altered ? kAlteredSum : kSum, lane), 0, {}};
          if (is_altered) {
            e.constant[e.constants++] = bits(seen.keep);
            e.constant[e.constants++] = bits(seen.flip);
          }
          for (const std::int32_t c : {bits(word), bits(sum.keep), bits(sum.flip), 0})
            e.constant[e.constants++] = c;
          close_run();
          last_sum = events.size();
          events.push_back(e);
          word = 0;
        }
      }
      if (is_altered && word != 0) {
        events.push_back({q, event(kAltered, lane), 3, {bits(seen.keep), bits(seen.flip), bits(word)}});
        word = 0;
      }
      words_[static_cast<std::size_t>(q) * kVnniColumns + i] = bits(word);
    }
    close_run();
  }
  events_ = static_cast<std::int64_t>(events.size());
  std::ranges::stable_sort(events, {}, &Event::quad);
  int done = 0;
  for (const Event& e : events) {
    code_.push_back(e.quad - done);
    done = e.quad;
    code_.push_back(e.number);
    code_.insert(code_.end(), e.constant.begin(), e.constant.begin() + e.constants);
  }
  code_.push_back(quads - done);
  code_.push_back(event(kEnd, 0));
}

namespace {

using Sums = __m512i[kVnniColumns][kVectors];

template <int kind, int column>
[[gnu::always_inline, gnu::target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]] inline void run_event(
    const std::int32_t* quad, const std::int32_t*& code, Sums& sum) {
  const bool is_altered = kind == kAlteredProduct || kind == kAlteredSum || kind == kAltered;
  __m512i seen_keep = _mm512_setzero_si512(), seen_flip = seen_keep;
  if (is_altered) {
    seen_keep = in_register(code[0]);
    seen_flip = in_register(code[1]);
    code += 2;
  }
  const __m512i weight = in_register(code[0]);
  if (kind == kAltered) {
    ++code;
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v)
      sum[column][v] = _mm512_dpbusd_epi32(sum[column][v],
                                           _mm512_ternarylogic_epi32(_mm512_loadu_si512(quad + v * kLanes),
                                                                     seen_keep, seen_flip, kMaskFunction),
                                           weight);
    return;
  }
  const __m512i keep = in_register(code[1]), flip = in_register(code[2]), offset = in_register(code[3]);
  code += 4;
#pragma GCC unroll 8
  for (int v = 0; v < kVectors; ++v) {
    __m512i a = _mm512_loadu_si512(quad + v * kLanes);
    if (is_altered) a = _mm512_ternarylogic_epi32(a, seen_keep, seen_flip, kMaskFunction);
    if (kind == kProduct || kind == kAlteredProduct) {
      const __m512i product = _mm512_dpbusd_epi32(offset, a, weight);
      sum[column][v] =
          _mm512_add_epi32(sum[column][v], _mm512_ternarylogic_epi32(product, keep, flip, kMaskFunction));
    } else {
      const __m512i here = _mm512_dpbusd_epi32(sum[column][v], a, weight);
      sum[column][v] = _mm512_add_epi32(_mm512_ternarylogic_epi32(here, keep, flip, kMaskFunction), offset);
    }
  }
}

}  // namespace

[[gnu::target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]] void ChainProgram::run(
    const std::int32_t* quads, int accumulator_bits, bool add, std::int32_t* sums,
    std::int64_t stride) const {
  Sums sum;
#pragma GCC unroll 4
  for (int c = 0; c < kVnniColumns; ++c)
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) sum[c][v] = _mm512_set1_epi32(start_[c]);
  const std::int32_t* code = code_.data();
  const std::int32_t* words = words_.data();
  for (;;) {
    const std::int32_t* const until = quads + *code++ * kVnniPositions;
    for (; quads != until; quads += kVnniPositions, words += kVnniColumns) {
      __m512i weight[kVnniColumns];
#pragma GCC unroll 4
      for (int c = 0; c < kVnniColumns; ++c) weight[c] = _mm512_set1_epi32(words[c]);
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) {
        const __m512i a = _mm512_loadu_si512(quads + v * kLanes);
#pragma GCC unroll 4
        for (int c = 0; c < kVnniColumns; ++c) sum[c][v] = _mm512_dpbusd_epi32(sum[c][v], a, weight[c]);
      }
    }
    const std::int32_t number = *code++;
    switch (number) {
      case kProduct* kVnniColumns + 0:
        run_event<kProduct, 0>(quads, code, sum);
        break;
      case kProduct* kVnniColumns + 1:
        run_event<kProduct, 1>(quads, code, sum);
        break;
      case kProduct* kVnniColumns + 2:
        run_event<kProduct, 2>(quads, code, sum);
        break;
      case kProduct* kVnniColumns + 3:
        run_event<kProduct, 3>(quads, code, sum);
        break;
      case kSum* kVnniColumns + 0:
        run_event<kSum, 0>(quads, code, sum);
        break;
      case kSum* kVnniColumns + 1:
        run_event<kSum, 1>(quads, code, sum);
        break;
      case kSum* kVnniColumns + 2:
        run_event<kSum, 2>(quads, code, sum);
        break;
      case kSum* kVnniColumns + 3:
        run_event<kSum, 3>(quads, code, sum);
        break;
      case kAlteredProduct* kVnniColumns + 0:
        run_event<kAlteredProduct, 0>(quads, code, sum);
        break;
      case kAlteredProduct* kVnniColumns + 1:
        run_event<kAlteredProduct, 1>(quads, code, sum);
        break;
      case kAlteredProduct* kVnniColumns + 2:
        run_event<kAlteredProduct, 2>(quads, code, sum);
        break;
      case kAlteredProduct* kVnniColumns + 3:
        run_event<kAlteredProduct, 3>(quads, code, sum);
        break;
      case kAlteredSum* kVnniColumns + 0:
        run_event<kAlteredSum, 0>(quads, code, sum);
        break;
      case kAlteredSum* kVnniColumns + 1:
        run_event<kAlteredSum, 1>(quads, code, sum);
        break;
      case kAlteredSum* kVnniColumns + 2:
        run_event<kAlteredSum, 2>(quads, code, sum);
        break;
      case kAlteredSum* kVnniColumns + 3:
        run_event<kAlteredSum, 3>(quads, code, sum);
        break;
      case kAltered* kVnniColumns + 0:
        run_event<kAltered, 0>(quads, code, sum);
        break;
      case kAltered* kVnniColumns + 1:
        run_event<kAltered, 1>(quads, code, sum);
        break;
      case kAltered* kVnniColumns + 2:
        run_event<kAltered, 2>(quads, code, sum);
        break;
      case kAltered* kVnniColumns + 3:
        run_event<kAltered, 3>(quads, code, sum);
        break;
      default: {
        const int shift = 32 - accumulator_bits;
#pragma GCC unroll 4
        for (int c = 0; c < kVnniColumns; ++c)
#pragma GCC unroll 8
          for (int v = 0; v < kVectors; ++v) {
            std::int32_t* to = sums + c * stride + v * kLanes;
            __m512i x = sum[c][v];
            if (shift != 0) x = _mm512_srai_epi32(_mm512_slli_epi32(x, shift), shift);
            if (add) x = _mm512_add_epi32(x, _mm512_loadu_si512(to));
            _mm512_storeu_si512(to, x);
          }
        return;
      }
    }
  }
}

[[gnu::target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]] void store_columns(
    const std::int32_t* sums, std::int64_t stride, std::span<const std::int64_t> to, std::int64_t positions,
    std::int32_t* out, std::int64_t ldc) {
  for (std::size_t c0 = 0; c0 < to.size(); c0 += kLanes) {
    const std::size_t columns = std::min<std::size_t>(kLanes, to.size() - c0);
    const bool together = to[c0 + columns - 1] - to[c0] == static_cast<std::int64_t>(columns) - 1;
    const auto lanes = static_cast<__mmask16>(0xffffu >> (kLanes - columns));
    alignas(64) std::int32_t offsets[kLanes] = {};
    for (std::size_t c = 0; c < columns; ++c) offsets[c] = static_cast<std::int32_t>(to[c0 + c] - to[c0]);
    const __m512i where = _mm512_load_si512(offsets);
    for (std::int64_t m0 = 0; m0 < positions; m0 += kLanes) {
      __m512i x[16];
      const std::int32_t* from = sums + static_cast<std::int64_t>(c0) * stride + m0;
      std::int32_t* row = out + m0 * ldc + to[c0];
      if (columns == kLanes && together && m0 + kLanes <= positions) {
#pragma GCC unroll 16
        for (int c = 0; c < kLanes; ++c) x[c] = _mm512_load_si512(from + c * stride);
        transpose(x);
#pragma GCC unroll 16
        for (int m = 0; m < kLanes; ++m) _mm512_storeu_si512(row + m * ldc, x[m]);
        continue;
      }
#pragma GCC unroll 16
      for (std::size_t c = 0; c < kLanes; ++c)
        x[c] = c < columns ? _mm512_load_si512(from + static_cast<std::int64_t>(c) * stride)
                           : _mm512_setzero_si512();
      transpose(x);
      for (std::int64_t m = 0; m < std::min<std::int64_t>(kLanes, positions - m0); ++m, row += ldc) {
        if (together)
          _mm512_mask_storeu_epi32(row, lanes, x[m]);
        else
          _mm512_mask_i32scatter_epi32(row, lanes, where, x[m], 4);
      }
    }
  }
}

}  // namespace kintsugi::array

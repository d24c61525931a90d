#include "array/vnni_quads.h"

#include <immintrin.h>

#include <algorithm>

namespace kintsugi::array {

namespace {

constexpr int kLanes = 16;
constexpr std::int32_t kTop = static_cast<std::int32_t>(0x80808080u);

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
    const std::int8_t* a, std::int64_t lda, std::int64_t positions, std::int64_t used, int rows) {
  quads_ = (rows + 3) / 4;
  blocks_ = (positions + kVnniPositions - 1) / kVnniPositions;
  std::int32_t* const words = words_.ensure(static_cast<std::size_t>(blocks_ * quads_ * kVnniPositions));
  const __m512i top = _mm512_set1_epi32(kTop);
  for (std::int64_t m0 = 0; m0 < blocks_ * kVnniPositions; m0 += kLanes) {
    std::int32_t* to = words + m0 / kVnniPositions * quads_ * kVnniPositions + m0 % kVnniPositions;
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
        if (q < here) _mm512_store_si512(to + (q0 + q) * kVnniPositions, x[q]);
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

// Sums of products of pairs of 16-bit numbers for a block of positions: the clean runs of chains where there
// is no AVX-512 VNNI. Two rows' activations of one position share a word, and so do two rows' weights.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "pe/datapath.h"

namespace kintsugi::array {

// The even row's value of a word, and the odd row's.
constexpr std::int32_t low_half(std::int32_t word) {
  return pe::sign_extend(static_cast<std::uint32_t>(word), 16);
}
constexpr std::int32_t high_half(std::int32_t word) {
  return word >> 16;
}

// psums[m] += Σ over p of both products of activations[p · kWidth + m] and weights[p], modulo 2^32, for
// m < kWidth; the block stays in registers.
template <std::int64_t kWidth>
void add_pairs(const std::int32_t* activations, const std::int32_t* weights, std::int64_t pairs,
               std::int32_t* psums) {
  constexpr int kLanes = 8, kVectors = static_cast<int>(kWidth) / kLanes;
  __m256i sum[kVectors];
  for (int i = 0; i < kVectors; ++i)
    sum[i] = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(psums + i * kLanes));
  for (std::int64_t p = 0; p < pairs; ++p) {
    const __m256i weight = _mm256_set1_epi32(weights[p]);
    const std::int32_t* a = activations + p * kWidth;
    for (int i = 0; i < kVectors; ++i)
      sum[i] = _mm256_add_epi32(
          sum[i],
          _mm256_madd_epi16(weight, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(a + i * kLanes))));
  }
  for (int i = 0; i < kVectors; ++i)
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(psums + i * kLanes), sum[i]);
}

// The same without intrinsics.
template <std::int64_t kWidth>
void add_pairs_portable(const std::int32_t* activations, const std::int32_t* weights, std::int64_t pairs,
                        std::int32_t* psums) {
  for (std::int64_t p = 0; p < pairs; ++p) {
    const std::int32_t low = low_half(weights[p]), high = high_half(weights[p]);
    const std::int32_t* a = activations + p * kWidth;
    for (std::int64_t m = 0; m < kWidth; ++m)
      psums[m] = pe::wrapping_add(psums[m], low * low_half(a[m]) + high * high_half(a[m]), 32);
  }
}

}  // namespace kintsugi::array

#include "array/token_products.h"

#include <immintrin.h>

#include "array/pair_sums.h"

namespace kintsugi::array {

namespace {

// add_pairs for two groups of tokens, which stay in registers.
[[gnu::target("avx512f,avx512vnni")]] void add_pairs_avx512(const std::int32_t* first,
                                                            const std::int32_t* second,
                                                            const std::int32_t* weights, std::int64_t pairs,
                                                            std::int32_t* psums) {
  constexpr int kLanes = 16, kVectors = static_cast<int>(kTokenWidth) / kLanes;
  __m512i sum[2 * kVectors];
  for (int i = 0; i < 2 * kVectors; ++i) sum[i] = _mm512_loadu_si512(psums + i * kLanes);
  for (std::int64_t p = 0; p < pairs; ++p) {
    const __m512i weight = _mm512_set1_epi32(weights[p]);
    for (int i = 0; i < kVectors; ++i) {
      const std::int64_t at = p * kTokenWidth + i * kLanes;
      sum[i] = _mm512_dpwssd_epi32(sum[i], weight, _mm512_loadu_si512(first + at));
      sum[kVectors + i] = _mm512_dpwssd_epi32(sum[kVectors + i], weight, _mm512_loadu_si512(second + at));
    }
  }
  for (int i = 0; i < 2 * kVectors; ++i) _mm512_storeu_si512(psums + i * kLanes, sum[i]);
}

}  // namespace

void add_to_psums(Isa isa, const TokenBlock& block, std::int64_t first_pair,
                  std::span<const std::int32_t> weights, std::int32_t* psums) {
  const std::int64_t pairs = std::ssize(weights);
  // Beyond the stream the last group's words are zero, so that idle cycles stay as they are.
  std::int64_t g = 0;
  if (isa == Isa::avx512)
    for (; g + 2 <= block.groups(); g += 2)
      add_pairs_avx512(block.words(g, first_pair), block.words(g + 1, first_pair), weights.data(), pairs,
                       psums + g * kTokenWidth);
  const auto add = isa == Isa::portable ? add_pairs_portable<kTokenWidth> : add_pairs<kTokenWidth>;
  for (; g < block.groups(); ++g)
    add(block.words(g, first_pair), weights.data(), pairs, psums + g * kTokenWidth);
}

}  // namespace kintsugi::array

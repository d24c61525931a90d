// What the AVX-512 kernels share.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace kintsugi::array {

// One word in all lanes, and in a register: GCC would rather load it again for each of the vectors.
[[gnu::always_inline, gnu::target("avx512f")]] inline __m512i in_register(std::int32_t word) {
  __m512i x = _mm512_set1_epi32(word);
  asm("" : "+v"(x));
  return x;
}

}  // namespace kintsugi::array

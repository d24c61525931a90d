// Compiled with AVX-512 switched on (see CMakeLists.txt); called only where the processor has it.
#include <immintrin.h>

#include "array/cycle_kernel_rows.h"

namespace kintsugi::array {

namespace {

struct Avx512 {
  static constexpr int kWidth = 32;
  static constexpr __mmask32 kEven = 0x55555555, kOdd = 0xaaaaaaaa;
  // x & y ^ z
  static constexpr int kAndXor = (0xf0 & 0xcc) ^ 0xaa;
  using Bytes = __m256i;
  struct Words {
    __m512i v;
  };
  struct Sums {
    __m512i v;
  };

  static Bytes load(const std::int8_t* at) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(at));
  }
  static void store(std::int8_t* at, Bytes x) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(at), x); }
  static Sums load(const std::int32_t* at) { return {_mm512_load_si512(at)}; }
  static void store(std::int32_t* at, Sums x) { _mm512_store_si512(at, x.v); }
  static Words widen(Bytes x) { return {_mm512_cvtepi8_epi16(x)}; }
  static Words even(Words x) { return {_mm512_maskz_mov_epi16(kEven, x.v)}; }
  static Words odd(Words x) { return {_mm512_maskz_mov_epi16(kOdd, x.v)}; }
  static Words even_weights(const std::int8_t* at) { return {_mm512_maskz_cvtepi8_epi16(kEven, load(at))}; }
  static Words odd_weights(const std::int8_t* at) { return {_mm512_maskz_cvtepi8_epi16(kOdd, load(at))}; }
  static Words even_ones() { return {_mm512_set1_epi32(1)}; }
  static Words odd_ones() { return {_mm512_set1_epi32(1 << 16)}; }
  static Words multiply(Words a, Words b) { return {_mm512_mullo_epi16(a.v, b.v)}; }
  static Sums dot(Sums s, Words a, Words b) { return {_mm512_dpwssd_epi32(s.v, a.v, b.v)}; }
  static Sums zero() { return {_mm512_setzero_si512()}; }
  static Bytes blend(Bytes a, Bytes b, std::uint32_t mask) { return _mm256_mask_blend_epi8(mask, a, b); }
  static Bytes hook(Bytes x, const std::int8_t* masks) {
    return _mm256_ternarylogic_epi64(x, load(masks), load(masks + kWidth), kAndXor);
  }
  static Words hook(Words x, const std::int16_t* masks) {
    return {
        _mm512_ternarylogic_epi64(x.v, _mm512_load_si512(masks), _mm512_load_si512(masks + kWidth), kAndXor)};
  }
  static Sums hook(Sums x, const std::int32_t* keep, const std::int32_t* flip) {
    return {_mm512_ternarylogic_epi64(x.v, _mm512_load_si512(keep), _mm512_load_si512(flip), kAndXor)};
  }
};

}  // namespace

CycleKernel cycle_kernel_avx512() {
  return {Avx512::kWidth, step_strip<Avx512, 1>, step_strip<Avx512, kLookahead>};
}

}  // namespace kintsugi::array

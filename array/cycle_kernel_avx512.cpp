// Compiled with AVX-512 switched on (see CMakeLists.txt); called only where the processor has it.
#include <immintrin.h>

#include "array/cycle_kernel_rows.h"

// Vectors as template arguments are compared without their alignment, which is all the same here.
#pragma GCC diagnostic ignored "-Wignored-attributes"

namespace kintsugi::array {

namespace {

struct Avx512 {
  static constexpr int kWidth = 32, kLookahead = 8;
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

  template <class T>
  struct Hooks {
    T keep, flip;
  };
  using ByteHooks = Hooks<Bytes>;
  using WordHooks = Hooks<__m512i>;
  using SumHooks = Hooks<__m512i>;
  static Bytes hook(Bytes x, const ByteHooks& h) {
    return _mm256_ternarylogic_epi64(x, h.keep, h.flip, kAndXor);
  }
  static Words hook(Words x, const WordHooks& h) {
    return {_mm512_ternarylogic_epi64(x.v, h.keep, h.flip, kAndXor)};
  }
  static Sums hook(Sums x, const SumHooks& h) {
    return {_mm512_ternarylogic_epi64(x.v, h.keep, h.flip, kAndXor)};
  }

  static ByteHooks chain(const ByteHooks& first, const ByteHooks& second) {
    return {_mm256_and_si256(first.keep, second.keep), hook(first.flip, second)};
  }

  // Packed.
  class Row {
   public:
    Row() = default;
    Row(const HookTables& tables, const RowHooks& hooks)
        : words_(tables.packed + hooks.packed), head_(reinterpret_cast<const PackedHooks*>(words_)) {}
    SumHooks even_sums() const { return expand(0); }
    SumHooks odd_sums() const { return expand(1); }
    WordHooks words() const { return expand(2); }

   private:
    Hooks<__m512i> expand(int group) const {
      const auto set = static_cast<__mmask16>(head_->words[group]);
      const std::uint32_t* at = words_ + head_->place[group];
      const __m512i keep = _mm512_loadu_si512(at), flip = _mm512_loadu_si512(at + __builtin_popcount(set));
      return {_mm512_mask_expand_epi32(_mm512_set1_epi32(-1), set, keep),
              _mm512_maskz_expand_epi32(set, flip)};
    }
    const std::uint32_t* words_ = nullptr;
    const PackedHooks* head_ = nullptr;
  };
};

}  // namespace

CycleKernel cycle_kernel_avx512() {
  return kernel_of<Avx512>(true);
}

}  // namespace kintsugi::array

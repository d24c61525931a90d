#include "array/cycle_kernel.h"

#include <immintrin.h>

#include <cstdlib>
#include <string_view>

#include "array/cycle_kernel_rows.h"

namespace kintsugi::array {

namespace {

template <class T>
struct PlainHooks {
  const T* keep;
  const T* flip;
};

template <int kWidth>
class PlainRow {
 public:
  PlainRow() = default;
  PlainRow(const HookTables& tables, const RowHooks& hooks)
      : sums_(tables.sums + std::size_t{hooks.sum} * 2 * kWidth),
        products_(tables.products + std::size_t{hooks.product} * 2 * kWidth) {}
  PlainHooks<std::int32_t> even_sums() const { return {sums_, sums_ + kWidth}; }
  PlainHooks<std::int32_t> odd_sums() const { return {sums_ + kWidth / 2, sums_ + kWidth + kWidth / 2}; }
  PlainHooks<std::int16_t> words() const { return {products_, products_ + kWidth}; }

 private:
  const std::int32_t* sums_ = nullptr;
  const std::int16_t* products_ = nullptr;
};

struct Avx2 {
  static constexpr int kWidth = 16;
  using Bytes = __m128i;
  struct Words {
    __m256i v;
  };
  struct Sums {
    __m256i v;
  };

  static __m256i vector(const void* at) { return _mm256_load_si256(static_cast<const __m256i*>(at)); }
  static Bytes load(const std::int8_t* at) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(at)); }
  static void store(std::int8_t* at, Bytes x) { _mm_storeu_si128(reinterpret_cast<__m128i*>(at), x); }
  static Sums load(const std::int32_t* at) { return {vector(at)}; }
  static void store(std::int32_t* at, Sums x) { _mm256_store_si256(reinterpret_cast<__m256i*>(at), x.v); }
  static Words widen(Bytes x) { return {_mm256_cvtepi8_epi16(x)}; }
  static Words even(Words x) { return {_mm256_blend_epi16(x.v, _mm256_setzero_si256(), 0xaa)}; }
  static Words odd(Words x) { return {_mm256_blend_epi16(x.v, _mm256_setzero_si256(), 0x55)}; }
  static Words even_weights(const std::int8_t* at) { return even(widen(load(at))); }
  static Words odd_weights(const std::int8_t* at) { return odd(widen(load(at))); }
  static Words even_ones() { return {_mm256_set1_epi32(1)}; }
  static Words odd_ones() { return {_mm256_set1_epi32(1 << 16)}; }
  static Words multiply(Words a, Words b) { return {_mm256_mullo_epi16(a.v, b.v)}; }
  static Sums dot(Sums s, Words a, Words b) { return {_mm256_add_epi32(s.v, _mm256_madd_epi16(a.v, b.v))}; }
  static Sums zero() { return {_mm256_setzero_si256()}; }
  static Bytes blend(Bytes a, Bytes b, std::uint32_t mask) {
    const __m128i bit = _mm_set1_epi64x(static_cast<long long>(0x8040201008040201));
    const __m128i byte_of = _mm_set_epi64x(0x0101010101010101, 0);
    const __m128i spread = _mm_shuffle_epi8(_mm_cvtsi32_si128(static_cast<int>(mask)), byte_of);
    return _mm_blendv_epi8(a, b, _mm_cmpeq_epi8(_mm_and_si128(spread, bit), bit));
  }
  struct ByteHooks {
    Bytes keep, flip;
  };
  using WordHooks = PlainHooks<std::int16_t>;
  using SumHooks = PlainHooks<std::int32_t>;
  using Row = PlainRow<kWidth>;
  static Bytes hook(Bytes x, const ByteHooks& h) { return _mm_xor_si128(_mm_and_si128(x, h.keep), h.flip); }
  static ByteHooks chain(const ByteHooks& first, const ByteHooks& second) {
    return {_mm_and_si128(first.keep, second.keep), hook(first.flip, second)};
  }
  static Words hook(Words x, const WordHooks& h) {
    return {_mm256_xor_si256(_mm256_and_si256(x.v, vector(h.keep)), vector(h.flip))};
  }
  static Sums hook(Sums x, const SumHooks& h) {
    return {_mm256_xor_si256(_mm256_and_si256(x.v, vector(h.keep)), vector(h.flip))};
  }
};

// The same without intrinsics. Arithmetic is on unsigned numbers, which wrap.
struct Portable {
  static constexpr int kWidth = 16;
  struct Bytes {
    std::int8_t v[kWidth];
  };
  struct Words {
    std::int16_t v[kWidth];
  };
  struct Sums {
    std::uint32_t v[kWidth / 2];
  };

  template <class T, class F>
  static T each(int count, F f) {
    T out{};
    for (int i = 0; i < count; ++i) out.v[i] = static_cast<std::remove_reference_t<decltype(out.v[0])>>(f(i));
    return out;
  }
  static Bytes load(const std::int8_t* at) {
    return each<Bytes>(kWidth, [&](int i) { return at[i]; });
  }
  static void store(std::int8_t* at, const Bytes& x) {
    for (int i = 0; i < kWidth; ++i) at[i] = x.v[i];
  }
  static Sums load(const std::int32_t* at) {
    return each<Sums>(kWidth / 2, [&](int i) { return at[i]; });
  }
  static void store(std::int32_t* at, const Sums& x) {
    for (int i = 0; i < kWidth / 2; ++i) at[i] = static_cast<std::int32_t>(x.v[i]);
  }
  static Words widen(const Bytes& x) {
    return each<Words>(kWidth, [&](int i) { return x.v[i]; });
  }
  static Words even(const Words& x) {
    return each<Words>(kWidth, [&](int i) { return i % 2 == 0 ? x.v[i] : 0; });
  }
  static Words odd(const Words& x) {
    return each<Words>(kWidth, [&](int i) { return i % 2 == 0 ? 0 : x.v[i]; });
  }
  static Words even_weights(const std::int8_t* at) { return even(widen(load(at))); }
  static Words odd_weights(const std::int8_t* at) { return odd(widen(load(at))); }
  static Words even_ones() {
    return each<Words>(kWidth, [](int i) { return i % 2 == 0 ? 1 : 0; });
  }
  static Words odd_ones() {
    return each<Words>(kWidth, [](int i) { return i % 2; });
  }
  static Words multiply(const Words& a, const Words& b) {
    return each<Words>(kWidth, [&](int i) { return a.v[i] * b.v[i]; });
  }
  static Sums dot(const Sums& s, const Words& a, const Words& b) {
    return each<Sums>(kWidth / 2, [&](int i) {
      return s.v[i] + static_cast<std::uint32_t>(a.v[2 * i] * b.v[2 * i]) +
             static_cast<std::uint32_t>(a.v[2 * i + 1] * b.v[2 * i + 1]);
    });
  }
  static Sums zero() { return {}; }
  static Bytes blend(const Bytes& a, const Bytes& b, std::uint32_t mask) {
    return each<Bytes>(kWidth, [&](int i) { return (mask >> i & 1) != 0 ? b.v[i] : a.v[i]; });
  }
  struct ByteHooks {
    Bytes keep, flip;
  };
  using WordHooks = PlainHooks<std::int16_t>;
  using SumHooks = PlainHooks<std::int32_t>;
  using Row = PlainRow<kWidth>;
  static Bytes hook(const Bytes& x, const ByteHooks& h) {
    return each<Bytes>(kWidth, [&](int i) { return (x.v[i] & h.keep.v[i]) ^ h.flip.v[i]; });
  }
  static ByteHooks chain(const ByteHooks& first, const ByteHooks& second) {
    return {each<Bytes>(kWidth, [&](int i) { return first.keep.v[i] & second.keep.v[i]; }),
            hook(first.flip, second)};
  }
  static Words hook(const Words& x, const WordHooks& h) {
    return each<Words>(kWidth, [&](int i) { return (x.v[i] & h.keep[i]) ^ h.flip[i]; });
  }
  static Sums hook(const Sums& x, const SumHooks& h) {
    return each<Sums>(kWidth / 2, [&](int i) {
      return (x.v[i] & static_cast<std::uint32_t>(h.keep[i])) ^ static_cast<std::uint32_t>(h.flip[i]);
    });
  }
};

}  // namespace

CycleKernel cycle_kernel_avx2() {
  return {Avx2::kWidth, false, step_strip<Avx2, 1>, step_strip<Avx2, kLookahead>};
}

CycleKernel cycle_kernel_portable() {
  return {Portable::kWidth, false, step_strip<Portable, 1>, step_strip<Portable, kLookahead>};
}

CycleKernel choose_cycle_kernel() {
  const char* environment = std::getenv("KINTSUGI_ISA");
  const std::string_view wanted = environment == nullptr ? "" : environment;
  if (wanted == "portable") return cycle_kernel_portable();
  if (wanted == "avx2") return cycle_kernel_avx2();
  const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
                      __builtin_cpu_supports("avx512vnni");
  return avx512 ? cycle_kernel_avx512() : cycle_kernel_avx2();
}

}  // namespace kintsugi::array

#include "array/cycle_kernel.h"

#include <immintrin.h>

#include <cstdlib>
#include <cstring>
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
  static constexpr int kWidth = 16, kLookahead = 8;
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

// The same without intrinsics, on the compiler's vectors.
struct Portable {
  static constexpr int kWidth = 16, kLookahead = 4;
  using Bytes [[gnu::vector_size(kWidth)]] = std::int8_t;
  using Words [[gnu::vector_size(kWidth * 2)]] = std::int16_t;
  using Sums [[gnu::vector_size(kWidth * 2)]] = std::uint32_t;

  template <class T>
  static T get(const void* at) {
    T x;
    std::memcpy(&x, at, sizeof x);
    return x;
  }
  static Bytes load(const std::int8_t* at) { return get<Bytes>(at); }
  static void store(std::int8_t* at, Bytes x) { std::memcpy(at, &x, sizeof x); }
  static Sums load(const std::int32_t* at) { return get<Sums>(at); }
  static void store(std::int32_t* at, Sums x) { std::memcpy(at, &x, sizeof x); }
  static Words widen(Bytes x) { return __builtin_convertvector(x, Words); }
  static Words even_ones() { return Words{1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0}; }
  static Words odd_ones() { return Words{0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1}; }
  static Words even(Words x) { return x & -even_ones(); }
  static Words odd(Words x) { return x & -odd_ones(); }
  static Words even_weights(const std::int8_t* at) { return even(widen(load(at))); }
  static Words odd_weights(const std::int8_t* at) { return odd(widen(load(at))); }
  static Words multiply(Words a, Words b) { return a * b; }
  // Products of int8 values, or of one with 1, fit into their words.
  static Sums dot(Sums s, Words a, Words b) {
    using Signed [[gnu::vector_size(kWidth * 2)]] = std::int32_t;
    const Words product = a * b;
    const auto pairs = get<Signed>(&product);
    const Signed first = (pairs << 16) >> 16, second = pairs >> 16;
    return s + get<Sums>(&first) + get<Sums>(&second);
  }
  static Sums zero() { return Sums{}; }
  static Bytes blend(Bytes a, Bytes b, std::uint32_t mask) {
    for (int i = 0; i < kWidth; ++i)
      if ((mask >> i & 1) != 0) a[i] = b[i];
    return a;
  }

  struct ByteHooks {
    Bytes keep, flip;
  };
  using WordHooks = PlainHooks<std::int16_t>;
  using SumHooks = PlainHooks<std::int32_t>;
  using Row = PlainRow<kWidth>;
  static Bytes hook(Bytes x, const ByteHooks& h) { return (x & h.keep) ^ h.flip; }
  static Words hook(Words x, const WordHooks& h) { return (x & get<Words>(h.keep)) ^ get<Words>(h.flip); }
  static Sums hook(Sums x, const SumHooks& h) { return (x & get<Sums>(h.keep)) ^ get<Sums>(h.flip); }
  static ByteHooks chain(const ByteHooks& first, const ByteHooks& second) {
    return {first.keep & second.keep, hook(first.flip, second)};
  }
};

}  // namespace

CycleKernel cycle_kernel_avx2() {
  return kernel_of<Avx2>(false);
}

CycleKernel cycle_kernel_portable() {
  return kernel_of<Portable>(false);
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

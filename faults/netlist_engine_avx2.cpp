#include <immintrin.h>

#include "faults/netlist_engine_impl.h"

namespace kintsugi::faults {

namespace {

struct Avx2 {
  static constexpr std::size_t kWords = 4;
  typedef long long Word __attribute__((vector_size(32)));
  static Word load(const std::uint64_t* at) { return *reinterpret_cast<const Word*>(at); }
  static void store(std::uint64_t* at, Word x) { *reinterpret_cast<Word*>(at) = x; }
  template <std::uint8_t truth>
  static Word lut(Word a, Word b, Word c) {
    return engine::lut3<truth>(a, b, c);
  }
};

void split(const std::uint8_t* bytes, std::size_t words, std::uint64_t* const* planes) {
  for (std::size_t word = 0; word < words; ++word) {
    const auto* at = reinterpret_cast<const __m256i*>(bytes + 64 * word);
    __m256i low = _mm256_loadu_si256(at), high = _mm256_loadu_si256(at + 1);
    for (std::size_t bit = 8; bit-- > 0;) {
      if (planes[bit] != nullptr)
        planes[bit][word] = static_cast<std::uint32_t>(_mm256_movemask_epi8(low)) |
                            std::uint64_t{static_cast<std::uint32_t>(_mm256_movemask_epi8(high))} << 32;
      low = _mm256_add_epi8(low, low);
      high = _mm256_add_epi8(high, high);
    }
  }
}

}  // namespace

const PlaneEngine& avx2_engine() {
  static const PlaneEngine kEngine = {32, 8, &engine::run<Avx2, 8>, &engine::run<Avx2, 2>, &split};
  return kEngine;
}

}  // namespace kintsugi::faults

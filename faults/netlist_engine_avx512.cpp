// Compiled with AVX-512 switched on (see CMakeLists.txt); called only where the processor has it.
#include <immintrin.h>

#include "faults/netlist_engine_impl.h"

// Vectors as template arguments are compared without their alignment, which is all the same here.
#pragma GCC diagnostic ignored "-Wignored-attributes"

namespace kintsugi::faults {

namespace {

struct Avx512 {
  static constexpr std::size_t kWords = 8;
  using Word = __m512i;
  static Word load(const std::uint64_t* at) { return _mm512_load_si512(at); }
  static void store(std::uint64_t* at, Word x) { _mm512_store_si512(at, x); }
  template <std::uint8_t truth>
  static Word lut(Word a, Word b, Word c) {
    return _mm512_ternarylogic_epi64(a, b, c, truth);
  }
};

void split(const std::uint8_t* bytes, std::size_t words, std::uint64_t* const* planes) {
  for (std::size_t word = 0; word < words; ++word) {
    __m512i x = _mm512_loadu_si512(bytes + 64 * word);
    for (std::size_t bit = 8; bit-- > 0;) {
      if (planes[bit] != nullptr) planes[bit][word] = _mm512_movepi8_mask(x);
      x = _mm512_add_epi8(x, x);
    }
  }
}

}  // namespace

const PlaneEngine& avx512_engine() {
  static const PlaneEngine kEngine = {64, 8, &engine::run<Avx512, 8>, &engine::run<Avx512, 1>, &split};
  return kEngine;
}

}  // namespace kintsugi::faults

#include "faults/netlist_engine_impl.h"

namespace kintsugi::faults {

namespace {

struct Portable {
  static constexpr std::size_t kWords = 1;
  using Word = std::uint64_t;
  static Word load(const std::uint64_t* at) { return *at; }
  static void store(std::uint64_t* at, Word x) { *at = x; }
  template <std::uint8_t truth>
  static Word lut(Word a, Word b, Word c) {
    return engine::lut3<truth>(a, b, c);
  }
};

void split(const std::uint8_t* bytes, std::size_t words, std::uint64_t* const* planes) {
  for (std::size_t word = 0; word < words; ++word)
    for (std::size_t bit = 0; bit < 8; ++bit) {
      if (planes[bit] == nullptr) continue;
      std::uint64_t plane = 0;
      for (std::size_t lane = 0; lane < 64; ++lane)
        plane |= std::uint64_t{(bytes[64 * word + lane] >> bit) & 1U} << lane;
      planes[bit][word] = plane;
    }
}

}  // namespace

const PlaneEngine& portable_engine() {
  static const PlaneEngine kEngine = {16, 4, &engine::run<Portable, 16>, &engine::run<Portable, 4>, &split};
  return kEngine;
}

}  // namespace kintsugi::faults

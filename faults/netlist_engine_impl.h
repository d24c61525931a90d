// The executors' common part: one function per truth table and batch size, over a vector type.
//
// Vector: the type Word with load, store and lut<truth>(a, b, c).
#pragma once

#include <array>
#include <utility>

#include "faults/netlist_engine.h"

namespace kintsugi::faults::engine {

// Whether input a (2), b (1) or c (0) matters.
constexpr bool depends(std::uint8_t truth, int input) {
  constexpr std::array<unsigned, 3> kLow = {0x55, 0x33, 0x0f};
  const int shift = 1 << input;
  return ((truth >> shift ^ truth) & static_cast<int>(kLow[static_cast<std::size_t>(input)])) != 0;
}

template <class Vector, int vectors, std::uint8_t truth>
void run_one(const PlaneOperation* operation, const PlaneOperation* end, std::uint64_t* slots) {
  constexpr std::size_t kStride = vectors * Vector::kWords;
  for (; operation != end; ++operation) {
    const std::uint64_t* a = slots + operation->a * kStride;
    const std::uint64_t* b = slots + operation->b * kStride;
    const std::uint64_t* c = slots + operation->c * kStride;
    std::uint64_t* out = slots + operation->out * kStride;
#pragma GCC unroll 16
    for (int i = 0; i < vectors; ++i) {
      const auto x = Vector::load(a + i * Vector::kWords);
      const auto y = depends(truth, 1) ? Vector::load(b + i * Vector::kWords) : x;
      const auto z = depends(truth, 0) ? Vector::load(c + i * Vector::kWords) : x;
      Vector::store(out + i * Vector::kWords, Vector::template lut<truth>(x, y, z));
    }
  }
}

using RunOne = void (*)(const PlaneOperation*, const PlaneOperation*, std::uint64_t*);

template <class Vector, int vectors, std::size_t... truth>
constexpr std::array<RunOne, 256> table(std::index_sequence<truth...>) {
  return {&run_one<Vector, vectors, static_cast<std::uint8_t>(truth)>...};
}

template <class Vector, int vectors>
void run(const Program& program, std::uint64_t* slots) {
  static constexpr std::array<RunOne, 256> kTable = table<Vector, vectors>(std::make_index_sequence<256>());
  const PlaneOperation* operations = program.operations.data();
  for (const PlaneRun& run : program.runs)
    kTable[run.truth](operations + run.begin, operations + run.end, slots);
}

// Any function of two or three words with and, or, xor and not; what is constant disappears.
template <std::uint8_t truth, class Word>
inline Word lut2(Word a, Word b) {  // bit 2·a + b
  constexpr int t = truth & 15;
  if constexpr (t == 0) return a ^ a;
  if constexpr (t == 1) return ~(a | b);
  if constexpr (t == 2) return ~a & b;
  if constexpr (t == 3) return ~a;
  if constexpr (t == 4) return a & ~b;
  if constexpr (t == 5) return ~b;
  if constexpr (t == 6) return a ^ b;
  if constexpr (t == 7) return ~(a & b);
  if constexpr (t == 8) return a & b;
  if constexpr (t == 9) return ~(a ^ b);
  if constexpr (t == 10) return b;
  if constexpr (t == 11) return ~a | b;
  if constexpr (t == 12) return a;
  if constexpr (t == 13) return a | ~b;
  if constexpr (t == 14) return a | b;
  if constexpr (t == 15) return ~(a ^ a);
}
template <std::uint8_t truth, class Word>
inline Word lut3(Word a, Word b, Word c) {  // bit 4·a + 2·b + c
  constexpr std::uint8_t kNo = truth & 15, kYes = truth >> 4;
  const Word no = lut2<kNo>(b, c), yes = lut2<kYes>(b, c);
  if constexpr (kNo == kYes) return no;
  if constexpr (kNo == (kYes ^ 15)) return a ^ no;
  if constexpr ((kNo & ~kYes & 15) == 0) return no | (a & yes);
  if constexpr ((kYes & ~kNo & 15) == 0) return yes | (~a & no);
  return (a & yes) | (~a & no);
}

}  // namespace kintsugi::faults::engine

// The body of array/cycle_kernel.h's kernels, over a set of vector operations V:
//   kWidth, kLookahead          columns of a strip, cycles of a pass
//   Bytes, Words, Sums          kWidth int8, kWidth int16, half as many int32
//   load, store, widen, even, odd (others zero), multiply (low 16 bits), hook ((x & keep) ^ flip), zero,
//   blend dot(s, a, b)                s + the sums of neighbouring products of words
// Included by one source file per instruction set; uses nothing from the standard library's headers that
// could be compiled twice.
#pragma once

#include "array/cycle_kernel.h"

namespace kintsugi::array {

template <class V>
struct PsumPair {
  typename V::Sums even, odd;
};

// Where a row's values and masks stand, and its weights if they stay the same.
template <class V, int Cycles>
struct RowPlaces {
  std::int8_t* activations;
  std::int8_t* weights;
  const std::int8_t* shadows;
  typename V::Words all, even, odd;
  typename V::SumHooks even_sums, odd_sums;
  typename V::WordHooks products;
  typename V::ByteHooks passed[Cycles + 1];  // activation registers: by how many were passed in these cycles
};

// Columns of the strip that bring a weight into use in cycles 0 … i, of row r.
template <class V>
inline std::uint32_t switched(const StripStep& s, int r, int i) {
  std::uint64_t mask = 0;
  for (std::size_t k = 0; k < s.switch_count; ++k) {
    const std::int64_t at = s.switches[k] - r;
    const std::uint64_t columns = (std::uint64_t{2} << i) - 1;
    if (at >= 0 && at < V::kWidth)
      mask |= columns << at;
    else if (at < 0 && at > -V::kLookahead)
      mask |= columns >> -at;
  }
  return static_cast<std::uint32_t>(mask & ((std::uint64_t{1} << V::kWidth) - 1));
}

// One row in cycle Cycle, and then in the cycles before it. The recursion is a loop that is unrolled early
// enough for the psums to stay in registers.
template <class V, int Cycles, int Cycle, unsigned Kind>
[[gnu::always_inline]] inline void step_cycles(const StripStep& s, int r, const RowPlaces<V, Cycles>& at,
                                               const PsumPair<V>& above, PsumPair<V>* q) {
  typename V::Words all = at.all, even = at.even, odd = at.odd;
  if constexpr ((Kind & kWeightSwitch) != 0) {
    all = V::widen(V::blend(V::load(at.weights), V::load(at.shadows), switched<V>(s, r, Cycle)));
    even = V::even(all);
    odd = V::odd(all);
  }
  typename V::Bytes bytes = V::load(at.activations - Cycle);
  if constexpr ((Kind & kActivationHooks) != 0 && Cycle > 0) bytes = V::hook(bytes, at.passed[Cycle]);
  const typename V::Words a = V::widen(bytes);
  const PsumPair<V> in = Cycle > 0 ? q[Cycle > 0 ? Cycle - 1 : 0] : above;
  PsumPair<V> out;
  if constexpr ((Kind & kProductHooks) != 0) {
    const typename V::Words product = V::hook(V::multiply(a, all), at.products);
    out = {V::dot(in.even, product, V::even_ones()), V::dot(in.odd, product, V::odd_ones())};
  } else {
    out = {V::dot(in.even, a, even), V::dot(in.odd, a, odd)};
  }
  if constexpr ((Kind & kSumHooks) != 0)
    out = {V::hook(out.even, at.even_sums), V::hook(out.odd, at.odd_sums)};
  q[Cycle] = out;
  if constexpr (Cycle > 0) step_cycles<V, Cycles, Cycle - 1, Kind>(s, r, at, above, q);
}

// What the registers of the 1, 2 … Cycles − 1 columns to the left make of activations, the furthest first.
template <class V, int Cycles, int Count>
[[gnu::always_inline]] inline void pass_registers(const std::int8_t* keep, std::size_t pitch,
                                                  typename V::ByteHooks* passed) {
  if constexpr (Count < Cycles) {
    const typename V::ByteHooks furthest = {V::load(keep - Count), V::load(keep + pitch - Count)};
    if constexpr (Count == 1)
      passed[1] = furthest;
    else
      passed[Count] = V::chain(furthest, passed[Count - 1]);
    pass_registers<V, Cycles, Count + 1>(keep, pitch, passed);
  }
}

// One row through Cycles cycles. q[i]: in, the psums of the row above after cycle i (i < Cycles − 1); out,
// this row's. `above`: those of the row above before the first cycle.
template <class V, int Cycles, unsigned Kind>
[[gnu::always_inline]] inline void step_row(const StripStep& s, int r, const PsumPair<V>& above,
                                            PsumPair<V>* q) {
  constexpr int w = V::kWidth;
  RowPlaces<V, Cycles> at{};
  at.activations = s.activations + r * s.row_stride;
  at.weights = s.weights + static_cast<std::ptrdiff_t>(r) * w;
  const typename V::Row hooks(s.tables, s.hooks[r]);
  if constexpr ((Kind & kSumHooks) != 0) {
    at.even_sums = hooks.even_sums();
    at.odd_sums = hooks.odd_sums();
  }
  if constexpr ((Kind & kProductHooks) != 0) at.products = hooks.words();
  if constexpr ((Kind & kWeightSwitch) != 0) {
    at.shadows = s.shadows + static_cast<std::ptrdiff_t>(r) * w;
  } else if constexpr ((Kind & kProductHooks) != 0) {
    at.all = V::widen(V::load(at.weights));
  } else {
    at.even = V::even_weights(at.weights);
    at.odd = V::odd_weights(at.weights);
  }
  typename V::ByteHooks own;
  if constexpr ((Kind & kActivationHooks) != 0) {
    const std::int8_t* registers =
        s.tables.activations + s.hooks[r].activation * 2 * s.tables.activation_pitch;
    own = {V::load(registers), V::load(registers + s.tables.activation_pitch)};
    pass_registers<V, Cycles, 1>(registers, s.tables.activation_pitch, at.passed);
  }
  step_cycles<V, Cycles, Cycles - 1, Kind>(s, r, at, above, q);
  if constexpr ((Kind & kActivationHooks) != 0) {
    std::int8_t* last = at.activations - (Cycles - 1);
    V::store(last, V::hook(V::load(last), Cycles == 1 ? own : V::chain(at.passed[Cycles - 1], own)));
  }
  if constexpr ((Kind & kWeightSwitch) != 0)
    V::store(at.weights, V::blend(V::load(at.weights), V::load(at.shadows), switched<V>(s, r, Cycles - 1)));
}

template <class V, int Cycle>
[[gnu::always_inline]] inline void set_all(PsumPair<V>* q, const PsumPair<V>& value) {
  q[Cycle] = value;
  if constexpr (Cycle > 0) set_all<V, Cycle - 1>(q, value);
}

template <class V, int Cycle>
[[gnu::always_inline]] inline void store_results(const StripStep& s, const PsumPair<V>* q) {
  V::store(s.results + Cycle * s.result_stride, q[Cycle].even);
  V::store(s.results + Cycle * s.result_stride + V::kWidth / 2, q[Cycle].odd);
  if constexpr (Cycle > 0) store_results<V, Cycle - 1>(s, q);
}

template <class V, int Cycles>
void step_strip(const StripStep& strip) {
  static_assert(Cycles == 1 || Cycles == V::kLookahead);
  constexpr int w = V::kWidth;
  const StripStep s = strip;  // nothing that is stored can be part of it
  const PsumPair<V> nothing = {V::zero(), V::zero()};
  PsumPair<V> q[Cycles];
  set_all<V, Cycles - 1>(q, nothing);
  std::int32_t* psums = s.psums + static_cast<std::ptrdiff_t>(s.first_row) * w;
  // Partial sums enter above row 0 as zero.
  PsumPair<V> above =
      s.first_row == 0 ? nothing : PsumPair<V>{V::load(psums - w), V::load(psums - w + w / 2)};
  for (int r = s.first_row; r <= s.last_row; ++r, psums += w) {
    const PsumPair<V> before = {V::load(psums), V::load(psums + w / 2)};
    switch (s.kinds[r]) {
      case 0:
        step_row<V, Cycles, 0>(s, r, above, q);
        break;
      case 1:
        step_row<V, Cycles, 1>(s, r, above, q);
        break;
      case 2:
        step_row<V, Cycles, 2>(s, r, above, q);
        break;
      case 3:
        step_row<V, Cycles, 3>(s, r, above, q);
        break;
      case 4:
        step_row<V, Cycles, 4>(s, r, above, q);
        break;
      case 5:
        step_row<V, Cycles, 5>(s, r, above, q);
        break;
      case 6:
        step_row<V, Cycles, 6>(s, r, above, q);
        break;
      case 7:
        step_row<V, Cycles, 7>(s, r, above, q);
        break;
      case 8:
        step_row<V, Cycles, 8>(s, r, above, q);
        break;
      case 9:
        step_row<V, Cycles, 9>(s, r, above, q);
        break;
      case 10:
        step_row<V, Cycles, 10>(s, r, above, q);
        break;
      case 11:
        step_row<V, Cycles, 11>(s, r, above, q);
        break;
      case 12:
        step_row<V, Cycles, 12>(s, r, above, q);
        break;
      case 13:
        step_row<V, Cycles, 13>(s, r, above, q);
        break;
      case 14:
        step_row<V, Cycles, 14>(s, r, above, q);
        break;
      case 15:
        step_row<V, Cycles, 15>(s, r, above, q);
        break;
      default:
        __builtin_unreachable();
    }
    V::store(psums, q[Cycles - 1].even);
    V::store(psums + w / 2, q[Cycles - 1].odd);
    above = before;
  }
  if (s.last_row != s.rows - 1) return;
  store_results<V, Cycles - 1>(s, q);
}

template <class V>
CycleKernel kernel_of(bool packed) {
  return {V::kWidth, packed, step_strip<V, 1>, step_strip<V, V::kLookahead>, V::kLookahead};
}

}  // namespace kintsugi::array

// The inner loop of array/cycle_array.h: a strip of neighbouring columns, stepped through one cycle or
// through several.
//
// In a cycle, every PE of the strip takes the psum register above it, adds its product, and keeps the sum.
// Done one cycle at a time, that moves every psum through memory once a cycle, and memory is what such a loop
// waits for. The psum of row r after cycle t is needed by row r+1 in cycle t+1 only; so for several cycles
// whose inputs are known, the loop goes down the rows once and takes each PE through all of these cycles,
// with the psums in between in registers of the processor. Every PE is still evaluated in every cycle, with
// the value that its neighbour's register holds then; only the order in which the evaluations are made is
// another.
//
// Layout. A strip is `width` columns; its arrays are row after row. Weights and activations lie in the order
// of the columns; psums: first the even columns, then the odd ones, because pairs of 16-bit products are what
// processors add up. Cells that hold no live value may be stepped: what they compute is never read.
//
// Psums are kept modulo 2^32. Where accumulators are narrower, their value is the low bits, sign-extended
// when it is read: addition and hooks do not carry from high bits to low ones.
#pragma once

#include <cstddef>
#include <cstdint>

namespace kintsugi::array {

// The widest strip of any kernel.
inline constexpr int kMaxWidth = 32;

// What is special about a row of a strip; 0 is nothing.
enum RowKind : std::uint8_t {
  kSumHooks = 1,         // adders or psum registers
  kProductHooks = 2,     // multipliers
  kActivationHooks = 4,  // activation registers, here or less than `lookahead` columns to the left
  kAllHooks = 7,
  kWeightSwitch = 8,  // a weight comes into use in these cycles
};

// All hooks are (x & keep) ^ flip.
// Those of sums and products come in two forms. Plain: all keeps, then all flips, of the strip's columns;
// where they stand is counted in rows of their table. Packed, for processors that can expand: one record a
// row, in words of 32 bits, of those words only that are not the identity. Those of activation registers
// stand as one row over all columns, with identities to the left of the first.
struct RowHooks {
  std::uint32_t sum = 0, product = 0, packed = 0, activation = 0;
};
struct HookTables {
  const std::int32_t* sums = nullptr;      // 2·width each, columns in the order of psums
  const std::int16_t* products = nullptr;  // 2·width each
  const std::uint32_t* packed = nullptr;
  const std::int8_t* activations = nullptr;  // of the strip's first column; rows are twice the pitch apart
  std::size_t activation_pitch = 0;          // from keeps to flips
};
// Begins a packed record. Groups of words: sums of even columns, of odd ones, products. A group has a bit for
// each of its words, and a place from the record's beginning on where its keeps stand, as many as bits are
// set, and then as many flips. What is read may reach kPackedMargin words further.
inline constexpr int kPackedGroups = 3;
inline constexpr int kPackedMargin = 16;
struct PackedHooks {
  std::uint16_t words[kPackedGroups];
  std::uint16_t place[kPackedGroups];
};
static_assert(sizeof(PackedHooks) % sizeof(std::uint32_t) == 0);

struct StripStep {
  int first_row = 0, last_row = 0;  // the rows to step; those above and below hold nothing alive
  int rows = 0;                     // of the array
  std::int32_t* psums = nullptr;    // all of the strip
  std::int8_t* weights = nullptr;   // in use
  const std::int8_t* shadows = nullptr;
  // Row 0 in the first cycle; one byte to the left with every further cycle. Rows are `row_stride` apart.
  std::int8_t* activations = nullptr;
  std::ptrdiff_t row_stride = 0;
  const std::uint8_t* kinds = nullptr;  // by row
  const RowHooks* hooks = nullptr;      // by row; read where the kind says so
  HookTables tables;
  // The columns, counted from the strip's first, in which row 0 brings a weight into use in the first cycle;
  // row r does so r columns to the left, and each further cycle one column to the right.
  const std::int64_t* switches = nullptr;
  std::size_t switch_count = 0;
  // Where the last row's psums go, cycle by cycle, if it is stepped.
  std::int32_t* results = nullptr;
  std::ptrdiff_t result_stride = 0;
};

struct CycleKernel {
  int width = 0;        // columns of a strip
  bool packed = false;  // which form of hooks it wants
  void (*step)(const StripStep& strip) = nullptr;
  // Through `lookahead` cycles.
  void (*step_ahead)(const StripStep& strip) = nullptr;
  int lookahead = 1;

  // Where a column of a strip stands among its psums.
  int psum_place(int column) const { return column % 2 * (width / 2) + column / 2; }
};

// The fastest that this processor has, or what the environment variable KINTSUGI_ISA (portable, avx2, avx512)
// allows. All give the same bits.
CycleKernel choose_cycle_kernel();

CycleKernel cycle_kernel_portable();
CycleKernel cycle_kernel_avx2();
CycleKernel cycle_kernel_avx512();  // needs AVX-512 F, BW, DQ, VL and VNNI

}  // namespace kintsugi::array

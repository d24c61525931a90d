// Columns with live faults, four at a time, with AVX-512 VNNI: the compiled form of their chains.
//
// A program walks down the rows of one tile in quads (four rows, one vpdpbusd). Each quad adds its clean rows
// to the sums of all four columns; where a column's chain breaks, an event does what the PE there does to 96
// stream positions in registers:
//   product   a hooked multiplier: the row's product alone, masked, added (no order to keep)
//   sum       a hooked adder or psum register: the rows down to it, then the mask on the whole sum
//   altered   rows whose activation a register left of this column, but inside the group, has changed
// Every hook is (x & keep') ^ flip', one vpternlogd. Activations are unsigned (a + 128); −128·Σw of the rows
// between two masks is added before the first of them. Sums wrap at 32 bits; narrower accumulators are the
// low bits, sign-extended at the foot of the array.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "array/aligned_buffer.h"
#include "array/fault_plan.h"
#include "array/hook_mask.h"

namespace kintsugi::array {

inline constexpr std::int64_t kVnniPositions = 96;  // worked on together
inline constexpr int kVnniColumns = 4;

// What a column's activation registers do to one quad.
struct Alteration {
  std::int32_t quad = 0;
  HookMask mask;
};
std::vector<Alteration> alterations(std::span<const ActivationFault> faults);

// The activations of one tile for many positions, as the columns met so far have altered them.
class QuadBlock {
 public:
  // a: `positions` rows of `used` values with stride lda; rows of the array beyond `used`, and positions up
  // to the next multiple of `block`, are zero.
  void load(const std::int8_t* a, std::int64_t lda, std::int64_t positions, std::int64_t used, int rows,
            std::int64_t block = kVnniPositions);
  // What the activation registers of a column do to its right neighbours: alterations by quad.
  void apply(std::span<const Alteration> alterations);

  std::int64_t blocks() const { return blocks_; }
  // Unsigned bytes, [quad][position in block][4].
  const std::int32_t* block(std::int64_t b) const { return words_.data() + b * quads_ * width_; }

 private:
  std::int64_t quads_ = 0, blocks_ = 0, width_ = kVnniPositions;
  AlignedBuffer<std::int32_t> words_;
};

// Up to four columns of one tile, ascending.
class ChainProgram {
 public:
  // weights(row, i): the tile's weight of row `row` < used in columns[i]; spare rows hold zero.
  template <class Weights>
  void build(const FaultPlan& plan, std::span<const int> columns, std::int64_t used, const Weights& weights) {
    std::vector<std::int8_t> table(static_cast<std::size_t>(plan.rows) * columns.size());
    for (std::size_t i = 0; i < columns.size(); ++i)
      for (int r = 0; r < plan.rows; ++r)
        table[i * plan.rows + r] =
            plan.effective_weight(r, columns[i], r < used ? weights(r, i) : std::int8_t{0});
    compile(plan, columns, used, table);
  }

  // sums: column i's positions at sums + i·stride, kVnniPositions of them, for all four columns; replaced, or
  // added to (wrapping at 32 bits).
  void run(const std::int32_t* quads, int accumulator_bits, bool add, std::int32_t* sums,
           std::int64_t stride) const;

  std::int64_t events() const { return events_; }
  std::size_t bytes() const { return (words_.size() + code_.size()) * sizeof(std::int32_t) + sizeof *this; }

 private:
  void compile(const FaultPlan& plan, std::span<const int> columns, std::int64_t used,
               std::span<const std::int8_t> effective);

  std::vector<std::int32_t> words_;  // clean weights: per quad, one word for each column
  std::vector<std::int32_t> code_;   // quads to run, event, its constants; and so on
  std::int32_t start_[kVnniColumns] = {};
  std::int64_t events_ = 0;
};

// totals (+)= sums, both `count` (a multiple of 16), wrapped at accumulator_bits first.
void add_sums(const std::int32_t* sums, std::int64_t count, int accumulator_bits, bool add,
              std::int32_t* totals);

// sums (column c's positions at sums + c·stride) to out (row m at out + m·ldc), columns listed in `to`.
void store_columns(const std::int32_t* sums, std::int64_t stride, std::span<const std::int64_t> to,
                   std::int64_t positions, std::int32_t* out, std::int64_t ldc);

}  // namespace kintsugi::array

// Columns with live faults, a few at a time, with AVX-512 VNNI: their chains as machine code.
//
// A group's code walks down the rows of one tile in quads (four rows, one vpdpbusd), for kVnniPositions
// stream positions at once. Each quad adds its clean rows to the sums of all columns of the group, and does
// what PEs with live faults do there:
//   product   a hooked multiplier: the row's product alone, masked, added (no order to keep)
//   sum       a hooked adder or psum register: the rows down to it, then the mask on the whole sum
//   altered   a hooked activation register: the quad itself masked, for the columns to the right
// Every hook is (x & keep') ^ flip', one instruction. Activations are unsigned (a + 128); −128·Σw of the rows
// between two masks is added before the first of them. Sums wrap at 32 bits; narrower accumulators are the
// low bits, sign-extended at the foot of the array.
//
// The code depends on the chip alone. Weights are data: a stream of words in the order in which the code
// reads them, one stream for each tile of a layer.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "array/fault_plan.h"
#include "array/hook_mask.h"
#include "array/machine_code.h"
#include "array/vnni_quads.h"

namespace kintsugi::array {

// The chained columns of one tile, in groups.
class ChainCode {
 public:
  static constexpr int kColumns = 4;  // of a group

  // columns: of the array, ascending; `used` rows hold weights. An activation register acts on the listed
  // columns to its right.
  ChainCode(const FaultPlan& plan, std::span<const int> columns, std::int64_t used, int accumulator_bits);

  std::int64_t groups() const { return static_cast<std::int64_t>(groups_.size()); }
  std::span<const int> columns(std::int64_t group) const { return groups_[group].columns; }

  // The stream of a tile. weights: the tile's row r at weights + r·stride, by column of the array.
  std::int64_t words() const { return words_; }
  void fill(const FaultPlan& plan, const std::int8_t* weights, std::int64_t stride,
            std::int32_t* stream) const;

  // Groups in ascending order over the same quads, which they alter. sums: the group's column i at sums +
  // i·stride, kVnniPositions of them, replaced, or added to (wrapping at 32 bits).
  void run(std::int64_t group, std::int32_t* quads, const std::int32_t* stream, bool add, std::int32_t* sums,
           std::int64_t stride) const;

  std::int64_t events() const { return events_; }
  std::size_t bytes() const { return bytes_; }

 private:
  // What the next word of a stream is.
  enum class Kind : std::uint8_t { weights, product, run_offset };
  struct Slot {
    Kind kind;
    std::uint8_t column;  // in the group
    std::uint8_t rows;    // of the quad, one bit each
    std::int32_t quad;
  };
  struct Group {
    std::vector<int> columns;
    std::vector<Slot> slots;
    std::int64_t first_word = 0;
    std::vector<std::int32_t> constants;
    std::size_t entry = 0;  // into code_
  };
  class Compiler;

  std::int64_t used_ = 0, words_ = 0, events_ = 0;
  std::vector<Group> groups_;
  ExecutableCode code_;
  std::size_t bytes_ = 0;
};

// The code of one chip, shared by the layers that run on it and kept as long as one of them wants it.
class ChainCodes {
 public:
  std::shared_ptr<const ChainCode> get(const FaultPlan& plan, const std::vector<int>& columns,
                                       std::int64_t used, int accumulator_bits);

 private:
  std::map<std::pair<std::int64_t, std::vector<int>>, std::weak_ptr<const ChainCode>> codes_;
};

}  // namespace kintsugi::array

// What a chip's faults mean for the functional engine: which columns stay plain dot products, what a weight
// becomes in its register, and which PEs must be evaluated one by one.
//
// The bypass hides faults of weight register, multiplier and adder; a bypassed PE adds nothing, like a zero
// weight. A weight-register fault alone leaves a column linear in its activations: it is another weight.
#pragma once

#include <cstdint>
#include <vector>

#include "faults/array_faults.h"
#include "pe/datapath.h"

namespace kintsugi::array {

// A PE at which a column's chain breaks: its multiplier, adder or psum register acts. Most often that is one
// site alone, for which shorter code exists.
enum class Acting { multiplier, adder, other };
struct ChainBreak {
  int row = 0;
  bool bypass = false;
  Acting acting = Acting::other;
  pe::PeHooks hooks;
};

// A PE whose activation register alters what its right neighbours see.
struct ActivationFault {
  int row = 0;
  pe::Hook hook;
};

struct FaultPlan {
  int rows = 0, cols = 0;
  // Effective weight of PE (r, c): ((w & keep) | set) ^ flip, as bytes; all zero where it is bypassed.
  std::vector<std::uint8_t> keep, set, flip;              // rows·cols each
  bool weights_altered = false;                           // any effective weight differs from its weight
  std::vector<std::vector<ChainBreak>> breaks;            // per column, by row
  std::vector<std::vector<ActivationFault>> activations;  // per column, by row
  // Rows whose activation may differ from the edge's when it reaches this column.
  std::vector<std::vector<int>> altered_rows;  // per column, ascending
  bool linear = true;                          // no breaks and no activation faults anywhere

  std::int8_t effective_weight(int row, int col, std::int8_t weight) const {
    const std::size_t i = static_cast<std::size_t>(row) * cols + col;
    return static_cast<std::int8_t>(((static_cast<std::uint8_t>(weight) & keep[i]) | set[i]) ^ flip[i]);
  }

  // The same for columns 0 … count − 1 of a row.
  void effective_row(int row, std::int64_t count, const std::int8_t* weights, std::int8_t* out) const {
    const std::size_t at = static_cast<std::size_t>(row) * cols;
    for (std::int64_t c = 0; c < count; ++c)
      out[c] = static_cast<std::int8_t>(
          ((static_cast<std::uint8_t>(weights[c]) & keep[at + c]) | set[at + c]) ^ flip[at + c]);
  }
};

FaultPlan make_fault_plan(const faults::ArrayFaults& faults);

}  // namespace kintsugi::array

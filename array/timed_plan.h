// What a chip's faults and its PEs at risk mean for the functional engine's timed columns: in each of them,
// the PEs that must be evaluated one by one, from the top.
//
// Between them lie clean runs as in other columns. Bypassed PEs have no timing errors.
#pragma once

#include <cstdint>
#include <vector>

#include "array/fault_plan.h"
#include "faults/array_faults.h"
#include "faults/chip_timing.h"

namespace kintsugi::array {

struct TimedPe {
  int row = 0;
  int risk = -1;  // its place in ChipTiming::at_risk; −1: never late
  int bin = 0;
  bool bypass = false;
  bool hooked = false;  // `hooks` act
  pe::PeHooks hooks;    // but the weight register's: weights are effective ones
  pe::PeInputs reset;   // after START, if at risk
};

// A row whose activation may not be the edge's when it reaches the column: (a & keep) ^ flip.
struct AlteredRow {
  int row = 0;
  std::uint8_t keep = 0xff, flip = 0;
  std::int8_t apply(std::int8_t a) const {
    return static_cast<std::int8_t>((static_cast<std::uint8_t>(a) & keep) ^ flip);
  }
};

// a − b modulo 2^32.
constexpr std::int32_t wrapping_difference(std::int32_t a, std::int32_t b) {
  return static_cast<std::int32_t>(static_cast<std::uint32_t>(a) - static_cast<std::uint32_t>(b));
}

struct TimedColumn {
  int col = 0;
  int at_risk = 0;                  // PEs
  bool swept = true;                // evaluated as a whole; else only what flips change in it
  std::vector<TimedPe> pes;         // by row
  std::vector<AlteredRow> altered;  // by row
  const AlteredRow* find_altered(int row) const;
};

struct TimedPlan {
  std::vector<TimedColumn> columns;  // by column: those with PEs at risk; all if psums flip at random
  int most_at_risk = 0;              // in one column
  bool all_swept = false;            // every column of the array
};

TimedPlan make_timed_plan(const faults::ArrayFaults& faults, const FaultPlan& plan,
                          const faults::ChipTiming& timing, int accumulator_bits);

}  // namespace kintsugi::array

// The checks that every fault of a map passes, wherever it comes from: position, bit, duplicate,
// contradiction. Private to the readers of this folder.
#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

#include "common/diagnostics.h"
#include "faults/fault_map.h"

namespace kintsugi::faults {

// Takes the faults of one map in file order and reports what is wrong with them. A fault that is listed
// twice, or against an earlier one, is reported once per pair of places, however many PEs a range makes of
// it.
class FaultChecker {
 public:
  // Positions are checked against rows×cols; with 0×0, they are taken as checked.
  FaultChecker(int rows, int cols, int accumulator_bits, common::Diagnostics& diagnostics);

  // Returns whether the fault is a new one that belongs into the map.
  bool accept(const Fault& fault);
  // Reports what was gathered since; call once, after the last fault.
  void finish();

 private:
  struct First {
    int value;
    common::Location where;
  };
  struct Clash {
    Fault fault;
    First first;
    std::int64_t more = 0;
  };

  int rows_, cols_, accumulator_bits_;
  common::Diagnostics& diagnostics_;
  std::unordered_map<std::uint64_t, First> seen_;
  std::vector<Clash> clashes_;
  std::unordered_map<std::string, std::size_t> clash_at_;  // by both places
};

// "multiplier has bits 0 to 15, found bit 16" or "" if the bit exists.
std::string bit_problem(pe::Site site, std::int64_t bit, int accumulator_bits);

}  // namespace kintsugi::faults

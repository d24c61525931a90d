// Which PEs of one chip are broken, and how: the physical truth, as read from a tester or sampled.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/diagnostics.h"
#include "pe/datapath.h"

namespace kintsugi::faults {

// One bit of one site, stuck at 0 or 1.
struct StuckAt {
  pe::Site site = pe::Site::multiplier;
  int bit = 0;
  int value = 0;
  friend bool operator==(const StuckAt&, const StuckAt&) = default;
};

// One line of a map, ranges already expanded. Without `stuck` the PE is known to be bad, nature unknown.
struct Fault {
  int row = 0;
  int col = 0;
  std::optional<StuckAt> stuck;
  bool escape = false;     // live but not found by the test: not part of the default bypass
  common::Location where;  // where it was read; empty if sampled
};

struct FaultMap {
  std::string chip;  // chip id
  int rows = 0;
  int cols = 0;
  std::vector<Fault> faults;  // sorted by (row, col, site, bit); a PE may have several
  std::string meta;           // free-form YAML block ("" if none), kept verbatim on a round trip

  // Number of distinct PEs named, escapes included.
  std::int64_t faulty_pes() const;
  // faulty_pes / (rows · cols).
  double fault_rate() const;
  // Sorts and removes nothing; every producer calls it.
  void sort();
  bool sorted() const;
};

std::string to_string(pe::Site site);  // "weight_register"
std::optional<pe::Site> site_from(std::string_view word);

}  // namespace kintsugi::faults

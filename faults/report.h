// What a chip's faults mean under its bypass: what stays hidden, what cannot be, and what that reaches.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "faults/array_faults.h"
#include "faults/fault_map.h"

namespace kintsugi::faults {

// A fault that acts on results in spite of the bypass.
//   psum_register, bypassed or not: every psum of column col passes through it.
//   activation_register, bypassed or not: PEs of its row to the right read it.
//   any other site, PE not bypassed (an escape, or no bypass at all): every output of column col.
struct LiveFault {
  Fault fault;
  bool bypassed = false;
  std::vector<int>
      columns;  // whose outputs it can change, ascending; may be empty (last column's activation)
};

struct FaultReport {
  std::string chip;
  int rows = 0;
  int cols = 0;
  std::int64_t faults = 0;  // lines of the map, ranges expanded
  std::int64_t faulty_pes = 0;
  double fault_rate = 0;
  std::array<std::int64_t, pe::kSites> by_site{};  // faults
  std::int64_t unknown = 0;                        // faults of unknown nature
  std::int64_t escapes = 0;                        // faulty PEs the test did not find
  std::int64_t bypassed_pes = 0;
  std::int64_t false_alarms = 0;                         // bypassed PEs without a fault
  std::int64_t assumed_maskable = 0;                     // bypassed PEs with a fault of unknown nature
  std::int64_t uncomputable = 0;                         // unbypassed PEs with a fault of unknown nature
  std::vector<LiveFault> live;                           // in map order
  std::int64_t columns_reached = 0;                      // distinct columns over `live`
  std::vector<std::pair<int, std::int64_t>> worst_rows;  // (row, faulty PEs), most hit first, at most 5
  std::vector<std::pair<int, std::int64_t>> worst_cols;
};

// `bypass`: rows·cols bits as in ArrayFaults (see bypass_bits).
FaultReport make_report(const FaultMap& map, std::span<const std::uint8_t> bypass);

// Several lines, ends with a line break. `most_live`: how many live faults are listed one by one.
std::string to_text(const FaultReport& report, int most_live = 10);

// "assumed maskable: N of M faults" and "test coverage assumed: 100 %", or "test escapes: n live faults";
// for every report that says what a chip does.
std::string assumptions_text(std::int64_t assumed_maskable, std::int64_t faulty_pes, std::int64_t escapes);

// A picture of where the faults lie, for a terminal: at most `width` characters wide, each covering a block
// of PEs about as wide as high, the darker the more of them are faulty; a legend below.
std::string density_picture(const FaultMap& map, int width = 64);

}  // namespace kintsugi::faults

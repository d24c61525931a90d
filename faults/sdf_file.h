// Reader of Standard Delay Format files (IEEE 1497): what each cell of a netlist takes from pin to pin, what
// its wires take, and how long before the clock data must stand.
//
// Of a triple (min:typ:max) the largest corner given counts, so that a timing file describes the slow case.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "faults/import_text.h"
#include "faults/timed_netlist.h"

namespace kintsugi::faults {

struct SdfCell {
  std::string type;
  TextPlace where;
  std::map<std::pair<std::string, std::string>, EdgeTimes> paths;  // (from, to) -> ps by the edge of `to`
  std::map<std::string, EdgeTimes> setups;                         // data pin -> ps by the edge of the data
  std::map<std::string, EdgeTimes> wires;                          // into this pin, ps by its edge
};

struct SdfFile {
  std::string program;  // "STA 2.0.17", or empty
  std::optional<double> voltage_v, temperature_c;
  std::map<std::string, SdfCell> cells;  // by instance
  int merged_conditions = 0;             // paths that hold under a condition only: the slowest one counts
};

// Lists what is wrong; whatever was read before that is returned.
SdfFile parse_sdf(const std::string& file, std::string_view text, ImportProblems& problems);

}  // namespace kintsugi::faults

// Reader of Liberty libraries: what the cells of a netlist compute, which of them are flip-flops, and their
// setup times.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "faults/import_text.h"
#include "faults/timed_netlist.h"

namespace kintsugi::faults {

// An expression of the library, where it stands.
struct LibertyText {
  std::string text;
  TextPlace where;
};

struct LibertyPin {
  std::string name;
  std::string direction;  // "input", "output", "inout", "internal", or empty
  std::optional<LibertyText> function, three_state;
  std::optional<EdgeTimes> setup;  // ps, by the data's edge
};

struct LibertyFlipFlop {
  std::string state, inverted_state;
  LibertyText next_state, clocked_on;
  std::optional<LibertyText> clear, preset;
};

struct LibertyCell {
  std::string name;
  TextPlace where;
  std::vector<LibertyPin> pins;  // in the library's order
  std::optional<LibertyFlipFlop> flip_flop;
  std::string not_understood;  // "latch", "statetable", …: what else holds state in it; empty: nothing
  const LibertyPin* pin(std::string_view name) const;
};

struct LibertyFile {
  std::string name;
  std::string operating_conditions;  // the default's name, or empty
  std::optional<double> voltage_v, temperature_c;
  std::map<std::string, LibertyCell> cells;
};

// Lists what is wrong; whatever was read before that is returned. Setup times are those at the first slews of
// their tables, which are the fastest.
LibertyFile parse_liberty(const std::string& file, std::string_view text, ImportProblems& problems);

// The value of a Liberty function for every value of its inputs: bit v is the value for inputs that spell v,
// inputs[0] the lowest bit. Inversion (! ') binds strongest, then ^, then and (* & or a blank), then or
// (+ |). At most six inputs. Lists a problem (a syntax error, a name that is not among the inputs) and
// returns nothing.
std::optional<std::uint64_t> truth_table(const LibertyText& function, const std::vector<std::string>& inputs,
                                         const std::string& file, ImportProblems& problems);
// The names in a function, each once, in their order.
std::vector<std::string> names_in(const LibertyText& function);

}  // namespace kintsugi::faults

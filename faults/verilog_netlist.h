// Reader of flat gate-level Verilog, as synthesis tools write it: a module's ports, nets, assignments of nets
// and constants, and cells with named pins.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "faults/import_text.h"

namespace kintsugi::faults {

// Nets are numbered from 0, bit by bit; these two are the constants.
inline constexpr int kNetZero = 0, kNetOne = 1;

enum class PortDirection { none, input, output, inout };

struct VerilogPort {
  std::string name;  // an escaped name without its backslash
  PortDirection direction = PortDirection::none;
  bool vector = false;
  std::vector<int> bits;  // the numbers its bits have
  std::vector<int> nets;  // of the bits
  TextPlace where;
};

struct VerilogConnection {
  std::string pin;
  std::optional<int> net;  // none: left open
  TextPlace where;
};

struct VerilogCell {
  std::string type;
  std::string name;
  std::vector<VerilogConnection> connections;
  TextPlace where;
};

// left takes the value of right.
struct VerilogAssign {
  int left = 0;
  int right = 0;
  TextPlace where;
};

struct VerilogModule {
  std::string name;
  TextPlace where;
  std::vector<VerilogPort> ports;
  std::vector<std::string> net_names;  // of each net; a bit of a vector is name[bit]
  std::vector<VerilogCell> cells;
  std::vector<VerilogAssign> assigns;
};

struct VerilogFile {
  std::string generator;  // what a first comment says about the tool, or empty
  std::vector<VerilogModule> modules;
};

// Lists what is wrong; whatever was read before that is returned.
VerilogFile parse_verilog(const std::string& file, std::string_view text, ImportProblems& problems);

}  // namespace kintsugi::faults

// A user's own PE as a timing file: gate-level Verilog, its delays (SDF) and its library (Liberty) become a
// TimedNetlist.
//
// The PE must have flip-flops for its operands (their data come straight from input ports) and for its sum
// (their outputs go straight to output ports), gates between the two, and one clock.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "faults/timed_netlist.h"

namespace kintsugi::faults {

struct ImportPorts {
  std::string activation = "a";
  std::string weight = "w";
  std::string psum = "psum";
  std::string out = "q";
  std::string clock = "clk";
};

struct ImportRequest {
  std::filesystem::path verilog, sdf, liberty;
  std::string top;  // empty: the file's only module
  ImportPorts ports;
  std::string name;     // empty: the module's
  std::string process;  // empty: what the library says of itself
  std::string remark;   // further provenance, like a licence
};

struct ImportedNetlist {
  TimedNetlist netlist;
  std::string module;
  int cells = 0;           // of the module
  int left_out_gates = 0;  // that no bit of the sum depends on
  std::vector<std::string> warnings;
};

// Delays are whole picoseconds (halves to even), at least 1; a setup time is the larger of its two edges', as
// a period that is safe for both needs it. Throws common::InputError with every problem of the three files,
// each at its line and column; a PE that does not compute psum + activation · weight is refused with an
// example.
ImportedNetlist import_netlist(const ImportRequest& request);

}  // namespace kintsugi::faults

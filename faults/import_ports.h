// Which nets of a module are a PE's operands, its sum and its clock.
#pragma once

#include <string>
#include <vector>

#include "faults/import_netlist.h"
#include "faults/import_text.h"
#include "faults/verilog_netlist.h"

namespace kintsugi::faults {

struct PeNets {
  std::vector<int> activation, weight, psum, out;  // by bit
  int clock = -1;
};

// What the ports of a module are, for messages: "clk, a[7:0], q[31:0]".
std::string describe_ports(const VerilogModule& module);

// Looks the ports up by name; a port may be a vector, or be split into name[0], name[1], …. Lists what is
// missing or of the wrong width or direction.
PeNets find_ports(const VerilogModule& module, const ImportPorts& ports, const std::string& file,
                  ImportProblems& problems);

}  // namespace kintsugi::faults

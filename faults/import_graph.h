// A gate-level netlist with what its cells do: every cell is a gate or a flip-flop, and every net knows what
// drives it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "faults/import_text.h"
#include "faults/liberty_file.h"
#include "faults/verilog_netlist.h"

namespace kintsugi::faults {

// One output of a cell without state.
struct GraphGate {
  const VerilogCell* cell = nullptr;
  std::string output_pin;
  int output = 0;
  std::vector<std::string> pins;  // that the function names, in the library's order
  std::vector<int> inputs;        // their nets
  std::uint64_t truth = 0;        // pins[0] the lowest bit
};

struct GraphFlipFlop {
  struct Output {
    std::string pin;
    int net = 0;
    bool inverted = false;  // of what the data pin held
  };
  const VerilogCell* cell = nullptr;
  std::string data_pin, clock_pin;
  int data = 0, clock = 0;
  bool falling = false;  // edge of the clock
  std::vector<Output> outputs;
};

class NetGraph {
 public:
  struct Files {
    std::string verilog, liberty;
  };
  // The module must outlive the graph. Lists unknown cells, latches, cells that cannot be used, pins that are
  // open or unknown, and nets with no driver or several.
  NetGraph(const VerilogModule& module, const LibertyFile& library, Files files, ImportProblems& problems);

  enum class DriverKind { none, constant, input_port, gate, flip_flop };
  struct Driver {
    DriverKind kind = DriverKind::none;
    int index = 0;   // of the gate or flip-flop
    int output = 0;  // of the flip-flop
  };

  // The net whose value this one has by assignments.
  int source(int net) const;
  // The same, back through buffers too.
  int origin(int net) const;
  const Driver& driver(int net) const { return drivers_[static_cast<std::size_t>(net)]; }
  const std::vector<GraphGate>& gates() const { return gates_; }
  const std::vector<GraphFlipFlop>& flip_flops() const { return flip_flops_; }

 private:
  struct Binder;

  const VerilogModule& module_;
  std::vector<GraphGate> gates_;
  std::vector<GraphFlipFlop> flip_flops_;
  std::vector<Driver> drivers_;
  std::vector<int> assigned_from_;  // -1: no assignment
};

// The truth table without the inputs that are constant (value 0 or 1; −1: not) or that change nothing; the
// places of the inputs that stay, in order, go to `kept`.
std::uint64_t reduce_truth(std::uint64_t truth, const std::vector<int>& values, std::vector<int>& kept);

}  // namespace kintsugi::faults

// What an SDF file and a library say of the cells of a netlist: delays of gates and flip-flops with the wires
// before them, and setup times, in whole picoseconds.
#pragma once

#include <cstddef>
#include <string>

#include "faults/import_graph.h"
#include "faults/liberty_file.h"
#include "faults/sdf_file.h"
#include "faults/timed_netlist.h"

namespace kintsugi::faults {

struct ImportFileNames {
  std::string verilog, sdf, liberty;
};

class ImportDelays {
 public:
  // All must outlive this.
  ImportDelays(const SdfFile& sdf, const LibertyFile& library, const ImportFileNames& files,
               ImportProblems& problems)
      : sdf_(sdf), library_(library), files_(files), problems_(problems) {}

  // Each lists a problem if neither file says it, and returns zeros.
  // From an input to the output, by the output's edge; `sense` is that of the input.
  EdgeTimes gate(const GraphGate& gate, std::size_t pin, PinSense sense);
  EdgeTimes clock_to_output(const GraphFlipFlop& flip_flop, const std::string& pin);
  // From the SDF file or, if that has none, from the library: the larger of both edges' for either edge.
  EdgeTimes setup(const GraphFlipFlop& flip_flop);

 private:
  const SdfCell* find(const VerilogCell& cell) const;
  EdgeTimes path(const VerilogCell& cell, const std::string& from, const std::string& to);
  EdgeTimes wire(const VerilogCell& cell, const std::string& pin) const;
  double clock_wire(const GraphFlipFlop& flip_flop) const;

  const SdfFile& sdf_;
  const LibertyFile& library_;
  const ImportFileNames& files_;
  ImportProblems& problems_;
};

}  // namespace kintsugi::faults

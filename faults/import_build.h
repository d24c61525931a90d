// From a graph of gates and the delays of an SDF file to a TimedNetlist.
#pragma once

#include <string>
#include <vector>

#include "faults/import_delays.h"
#include "faults/import_graph.h"
#include "faults/import_netlist.h"
#include "faults/sdf_file.h"

namespace kintsugi::faults {

// Bits, launches, gates in topological order, captures and their times. Lists every problem (ports,
// flip-flops in the wrong places, loops, missing delays); the result is usable if there is none.
TimedNetlist build_timed_netlist(const VerilogModule& module, const NetGraph& graph, const SdfFile& sdf,
                                 const LibertyFile& library, const ImportPorts& ports,
                                 const ImportFileNames& files, ImportProblems& problems);

}  // namespace kintsugi::faults

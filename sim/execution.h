// One workload on one chip at one fidelity: what `run` prints and `regress` compares.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "configs/chip.h"
#include "configs/fidelity.h"
#include "configs/workload.h"
#include "faults/array_faults.h"
#include "faults/chip_speed.h"
#include "faults/fault_map.h"
#include "faults/report.h"
#include "sim/waveform.h"
#include "workloads/inference.h"
#include "workloads/layer_report.h"

namespace kintsugi::sim {

struct ExecutionRequest {
  configs::ChipConfig chip;
  configs::WorkloadConfig workload;
  configs::Fidelity fidelity = configs::Fidelity::functional;
  std::optional<faults::FaultMap> fault_map;
  std::optional<faults::FaultMap> bypass_map;
  bool no_bypass = false;
  int threads = 1;
  std::filesystem::path data_dir;
  configs::Overrides overrides;             // for the network file
  bool reference_accuracies = true;         // also run the network in float and on the fault-free chip
  bool compare_outputs = false;             // count the outputs that timing errors made wrong
  std::optional<WaveformRequest> waveform;  // pe and cycle only
  // Where to write the timeline (sim/timeline.h); chips with a memory system only.
  std::optional<std::filesystem::path> timeline;
};

// A PE at risk, and in how many cycles its adder captured a wrong word.
struct LatePe {
  int row = 0;
  int col = 0;
  std::int64_t words = 0;
};

struct ExecutionResult {
  std::vector<workloads::LayerReport> layers;
  std::int64_t cycles = 0;
  std::int64_t stall_cycles = 0;
  faults::ArrayFaults faults;
  workloads::Tensor<std::int32_t> output;     // a GEMM's M×N accumulators; empty for networks
  workloads::Tensor<float> logits;            // a network's; empty for GEMMs
  std::optional<double> accuracy;             // on this chip; none for random images
  std::optional<double> fault_free_accuracy;  // int8 on the fault-free chip, if asked for
  std::optional<double> float_accuracy;       // if asked for and the weights are float
  std::vector<std::string> layer_digests;     // SHA-256 of every layer's raw output bytes, in layer order;
                                              // empty where nothing was computed (topologies, functional)
  std::int64_t waveform_cycles = 0;           // how many cycles the waveform has
  std::size_t timeline_events = 0;
  std::optional<faults::ChipSpeed> speed;  // of a chip with timing
  std::vector<LatePe> late_pes;            // those that were late, the most often first, at most kMostLatePes
  std::int64_t late_pe_count = 0;          // of them all
  faults::FaultReport fault_report;        // what the faults mean under this bypass
  std::vector<std::int32_t> predicted;     // a network's arg-max per image; empty for GEMMs
};

inline constexpr std::size_t kMostLatePes = 10;

// Reads the maps that the chip file names unless the request brings its own (chip files carry paths only).
// The bypass is, in this order: none (`no_bypass`, or a chip without multiplexers), the bypass map, the bits
// a deployed network was made for, the PEs that the fault map names. Float weights are masked by the bypass,
// and quantised with scales from the first training images of the data set. A chip with timing runs at its
// configured operating point; topologies have no data, so that nothing can err on them.
//
// Builds the SystemC platform and leaves it standing, so it works once per process; callers that need several
// fork. Throws common::InputError for bad input.
ExecutionResult execute(const ExecutionRequest& request);

}  // namespace kintsugi::sim

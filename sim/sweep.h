// Runs a workload on a chip at every point of a grid of settings, in child processes.
//
// Every finished point is a file, points/<digest>.json, named after everything its result depends on. A point
// whose file is there is not run again, in this sweep or in a larger one on the same folder.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "array/accelerator.h"
#include "configs/fidelity.h"
#include "sim/sweep_grid.h"

namespace kintsugi::sim {

// Faults sampled for every point, each PE by itself: at a rate, or at a density on the die.
struct SweepFaults {
  std::optional<double> rate;     // expected faulty PEs / (R·C)
  std::optional<double> per_mm2;  // expected faulty PEs = per_mm2 · R · C · pe_area_um2 / 10⁶
  std::optional<double> pe_area_um2;
};

struct SweepRequest {
  std::filesystem::path chip, workload;
  SweepGrid grid;
  std::optional<std::filesystem::path> fault_map;
  SweepFaults faults;  // of every point; axes of the names below take their place
  configs::Fidelity fidelity = configs::Fidelity::functional;
  std::uint64_t seed = 1;
  std::filesystem::path data_dir;
  std::filesystem::path out;
  int workers = 1;
  int threads = 1;
  bool quiet = false;
};

struct SweepResult {
  std::int64_t cycles = 0;
  std::int64_t stall_cycles = 0;
  std::int64_t macs = 0;
  double utilization = 0;
  double time_us = 0;  // at the chip's clock
  std::optional<double> accuracy;
  double fault_rate = 0;         // as sampled, or of the map
  double mapped_fault_rate = 0;  // share of all MACs done on bypassed PEs
  std::int64_t stall_weights = 0, stall_activations = 0, stall_accumulators = 0, stall_output = 0;  // cycles
  std::optional<std::int64_t> dram_read_bytes, dram_write_bytes;  // with a memory system
  double tops = 0;
  std::optional<double> energy_uj;            // with a table of energies
  std::optional<array::TimingCounts> timing;  // of chips with timing
};

struct SweepPoint {
  std::vector<std::string> values;    // of Sweep::columns
  std::optional<SweepResult> result;  // unless it failed
  std::string problem;
  bool bad_input = false;  // the problem is the user's to mend
};

struct Sweep {
  std::vector<std::string> columns;
  std::vector<SweepPoint> points;  // in grid order
};

// Names of the axes that lists for --fault-rate, --faults-per-mm2 and --pe-area-um2 make.
inline constexpr const char* kRateAxis = "nominal_fault_rate";
inline constexpr const char* kDensityAxis = "faults_per_mm2";
inline constexpr const char* kAreaAxis = "pe_area_um2";

// Runs what has no file yet. A point that fails does not stop the others. The calling process must not have
// started threads. Throws common::InputError if every point is refused, before anything is written if that
// can be told from the files.
Sweep run_sweep(const SweepRequest& request);

// sweep.csv: the columns, then cycles,stall_cycles,macs,utilization,time_us,accuracy,fault_rate,
// mapped_fault_rate,stall_weights_cycles,stall_activations_cycles,stall_accumulators_cycles,
// stall_output_cycles,dram_read_bytes,dram_write_bytes,tops,energy_uj,error; before error, if the chip has
// timing at some point, late_words,dropped_products,flipped_bits.
std::string sweep_csv(const Sweep& sweep);

// For a terminal of 100 columns; at most `most_rows` points.
std::string sweep_table(const Sweep& sweep, bool colours, std::size_t most_rows = 60);

}  // namespace kintsugi::sim

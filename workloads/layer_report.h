// What a layer cost: one line of layers.csv, and everything that follows from its cycles and bytes on a chip.
// Pure functions of what the device reported; docs/commands.md explains every figure.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "array/accelerator.h"
#include "array/layer_cost.h"
#include "configs/chip.h"

namespace kintsugi::workloads {

// How a layer's outputs differ from those without timing errors on the same operands: int8 outputs before any
// pooling, or int32 accumulators where the layer leaves those.
struct OutputErrors {
  std::int64_t small = 0;  // by 1 … 5
  std::int64_t large = 0;  // by more
};

// Summed over all batches. Layers on the host have zeros; those on the activation unit have no sizes, tiles
// or MACs.
struct LayerReport {
  std::string layer;
  std::int64_t m = 0, k = 0, n = 0;  // of one batch
  std::int64_t tiles = 0;
  std::int64_t cycles = 0;
  std::int64_t stall_cycles = 0;
  std::int64_t macs = 0;
  double utilization = 0;           // macs / (cycles · R · C)
  double mapped_fault_rate = 0;     // share of the layer's weights on bypassed PEs
  array::CycleBreakdown breakdown;  // a pass of the activation unit alone counts as active
  array::Traffic traffic;
  std::int64_t fed_positions = 0;  // stream positions fed to the array, each to the weights of one tile
  // On a chip with timing errors.
  std::int64_t outputs = 0;
  array::TimingCounts timing;
  std::optional<OutputErrors> output_errors;  // if somebody compared
};

// Adds what one launch cost: tiles, cycles, MACs, bytes, and the utilisation that follows. The names, sizes
// and mapped fault rate of a layer are its owner's to fill in.
void add_launch(LayerReport& report, const array::LayerLaunch& launch, const array::LaunchReport& cost,
                const configs::ChipConfig& chip);
// The same for a pass of the activation unit alone, which has no tiles and no MACs.
void add_launch(LayerReport& report, const array::LaunchReport& cost, const configs::ChipConfig& chip);

// Told around every layer's launches, batch after batch, so that an observer of the device's timeline can
// tell layers apart; and told of every launch on the array after it, while its operands and results are in
// device memory. Any may be empty.
struct LayerHooks {
  std::function<void(const std::string& layer)> begin;
  std::function<void(std::int64_t cycles)> end;
  std::function<void(const array::LayerLaunch& launch)> launched;
};

// Of a chip's table: MACs · mac + bytes · energy of a byte. The DRAM is charged for whole bursts, the unified
// buffer's figure also serves the weight FIFO. Microjoules.
struct Energy {
  double mac = 0, registers = 0, accumulators = 0, buffer = 0, dram = 0;
  double total() const { return mac + registers + accumulators + buffer + dram; }
};
Energy energy_of(std::int64_t macs, const array::Traffic& traffic, const configs::EnergyConfig& table);

struct LayerFigures {
  double mapped_pes = 0;  // share of the PEs that hold a weight of the layer, over the cycles of its streams
  double active_share = 0;  // share of cycles in which a stream is fed
  double tops = 0;          // 10^12 operations (two a MAC) per second at the chip's clock
  // With a memory system only; the intensity also needs a byte that crosses to or from DRAM.
  std::optional<double> intensity_ops_per_byte;
  std::optional<double> roofline_tops;  // min(peak, intensity · bandwidth)
  std::optional<Energy> energy;         // with a table of energies only
};
LayerFigures figures_of(const LayerReport& report, const configs::ChipConfig& chip);

// Sums, named "total"; the mapped fault rate is weighted by MACs. Sizes are 0.
LayerReport total_of(const std::vector<LayerReport>& layers, const configs::ChipConfig& chip);

// A report as named columns; std::monostate: the chip has no such figure. Those on timing errors are there
// for chips with timing only.
using ReportValue = std::variant<std::monostate, std::int64_t, double, std::string>;
struct ReportCell {
  const char* name;
  ReportValue value;
};
std::vector<ReportCell> report_cells(const LayerReport& report, const configs::ChipConfig& chip);

// A header line and a line for each layer.
std::string layers_csv(const std::vector<LayerReport>& layers, const configs::ChipConfig& chip);
// {"version": 1, "layers": [{column: value, …}, …], "total": {…}}; null where the CSV is empty.
std::string layers_json(const std::vector<LayerReport>& layers, const configs::ChipConfig& chip);

}  // namespace kintsugi::workloads

#include "sim/topology_execution.h"

#include <fmt/format.h>

#include <algorithm>
#include <span>

#include "array/schedule.h"
#include "common/diagnostics.h"
#include "common/random.h"

namespace kintsugi::sim {
namespace {

using workloads::LayerReport;
using workloads::TopologyLayer;

constexpr std::uint64_t kMostBytes = std::uint64_t{16} << 30;

// Where a layer's operands lie.
struct Places {
  std::uint64_t weights = 0, output = 0, end = 0;
};

Places places_of(const array::LayerShape& shape) {
  const auto aligned = [](std::int64_t bytes) { return (static_cast<std::uint64_t>(bytes) + 63) / 64 * 64; };
  Places places;
  places.weights = aligned(shape.activation_bytes());
  places.output = places.weights + aligned(shape.weight_bytes());
  places.end = places.output + aligned(4 * shape.outputs());
  return places;
}

// How many of the PEs in the first r rows and c columns are bypassed, for all r and c.
class BypassCounts {
 public:
  explicit BypassCounts(const faults::ArrayFaults& faults)
      : cols_(faults.cols + 1), counts_(static_cast<std::size_t>(faults.rows + 1) * cols_, 0) {
    for (int r = 0; r < faults.rows; ++r)
      for (int c = 0; c < faults.cols; ++c)
        counts_[at(r + 1, c + 1)] = counts_[at(r, c + 1)] + counts_[at(r + 1, c)] - counts_[at(r, c)] +
                                    (faults.bypassed(r, c) ? 1 : 0);
  }
  std::int64_t within(std::int64_t rows, std::int64_t cols) const { return counts_[at(rows, cols)]; }

 private:
  std::size_t at(std::int64_t r, std::int64_t c) const { return static_cast<std::size_t>(r * cols_ + c); }

  std::int64_t cols_;
  std::vector<std::int64_t> counts_;
};

// Everything about a layer that does not depend on time.
LayerReport describe(const TopologyLayer& layer, const array::Tiling& tiling, const BypassCounts& bypassed) {
  const array::LayerShape& shape = layer.shape;
  LayerReport report;
  report.layer = layer.name;
  report.m = shape.m();
  report.k = shape.k();
  report.n = shape.n();
  report.tiles = tiling.tiles() * shape.groups;
  report.macs = shape.macs();
  std::int64_t mapped = 0;
  for (const array::Range& k : tiling.k_tiles)
    for (const array::Range& n : tiling.n_tiles) mapped += bypassed.within(k.count, n.count);
  report.mapped_fault_rate =
      static_cast<double>(mapped) / (static_cast<double>(shape.k()) * static_cast<double>(shape.n()));
  return report;
}

void set_time(LayerReport& report, std::int64_t cycles, std::int64_t stall_cycles,
              const configs::ArrayConfig& array) {
  report.cycles = cycles;
  report.stall_cycles = stall_cycles;
  report.utilization =
      static_cast<double>(report.macs) / (static_cast<double>(cycles) * array.rows * array.cols);
}

array::Tiling tiling_of(const array::LayerShape& shape, const configs::ChipConfig& chip) {
  return array::make_tiling(shape, chip.array.rows, chip.array.cols, chip.convolution);
}

}  // namespace

std::vector<LayerReport> topology_costs(const std::vector<TopologyLayer>& layers,
                                        const configs::ChipConfig& chip, const faults::ArrayFaults& faults) {
  const BypassCounts bypassed(faults);
  std::vector<LayerReport> reports;
  for (const TopologyLayer& layer : layers) {
    const array::Tiling tiling = tiling_of(layer.shape, chip);
    LayerReport report = describe(layer, tiling, bypassed);
    set_time(report,
             array::layer_cycles(layer.shape, tiling, chip.array.rows, chip.array.cols,
                                 chip.array.weight_double_buffer),
             0, chip.array);
    reports.push_back(std::move(report));
  }
  return reports;
}

std::uint64_t topology_memory(const std::vector<TopologyLayer>& layers, const std::filesystem::path& file) {
  std::uint64_t most = 0;
  for (const TopologyLayer& layer : layers) {
    const std::uint64_t bytes = places_of(layer.shape).end;
    if (bytes > kMostBytes)
      throw common::InputError({file.string()},
                               fmt::format("layer '{}' needs {} bytes for its operands; at most {} can be "
                                           "held, so use the functional fidelity, which needs none",
                                           layer.name, bytes, kMostBytes));
    most = std::max(most, bytes);
  }
  return most;
}

std::vector<LayerReport> measure_topology(const std::vector<TopologyLayer>& layers,
                                          array::Accelerator& device, const faults::ArrayFaults& faults) {
  const configs::ChipConfig& chip = device.chip();
  const BypassCounts bypassed(faults);
  std::vector<LayerReport> reports;
  for (std::size_t i = 0; i < layers.size(); ++i) {
    const array::LayerShape& shape = layers[i].shape;
    const Places places = places_of(shape);
    common::RandomStream random(1, "topology", i);
    std::vector<std::int8_t> operands(static_cast<std::size_t>(places.output));
    for (std::int8_t& value : operands) value = static_cast<std::int8_t>(random.next() >> 56);
    device.data_to_device(0, std::as_bytes(std::span(operands)));
    const array::LaunchReport cost =
        device.launch({shape, 0, places.weights, places.output, std::nullopt, false});
    LayerReport report = describe(layers[i], tiling_of(shape, chip), bypassed);
    set_time(report, cost.cycles, cost.stall_cycles, chip.array);
    reports.push_back(std::move(report));
  }
  return reports;
}

}  // namespace kintsugi::sim

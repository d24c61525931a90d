#include "sim/topology_execution.h"

#include <fmt/format.h>

#include <algorithm>
#include <span>
#include <utility>

#include "array/layer_calendar.h"
#include "array/requantize.h"
#include "common/diagnostics.h"
#include "common/random.h"

namespace kintsugi::sim {
namespace {

using workloads::LayerReport;
using workloads::TopologyLayer;

constexpr std::uint64_t kMostBytes = std::uint64_t{16} << 30;

// Where a layer's operands lie; activations from 0.
struct Places {
  std::uint64_t weights = 0, table = 0, output = 0, end = 0;
};

Places places_of(const array::LayerShape& shape) {
  const auto aligned = [](std::int64_t bytes) { return (static_cast<std::uint64_t>(bytes) + 63) / 64 * 64; };
  Places places;
  places.weights = aligned(shape.activation_bytes());
  places.table = places.weights + aligned(shape.weight_bytes());
  places.output =
      places.table + aligned(shape.out_c * static_cast<std::int64_t>(sizeof(array::Requantization)));
  places.end = places.output + aligned(shape.outputs());
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
LayerReport describe(const TopologyLayer& layer, const configs::ChipConfig& chip,
                     const BypassCounts& bypassed) {
  const array::LayerShape& shape = layer.shape;
  const array::Tiling tiling = array::make_tiling(shape, chip.array.rows, chip.array.cols, chip.convolution);
  LayerReport report;
  report.layer = layer.name;
  report.m = shape.m();
  report.k = shape.k();
  report.n = shape.n();
  std::int64_t mapped = 0;
  for (const array::Range& k : tiling.k_tiles)
    for (const array::Range& n : tiling.n_tiles) mapped += bypassed.within(k.count, n.count);
  report.mapped_fault_rate =
      static_cast<double>(mapped) / (static_cast<double>(shape.k()) * static_cast<double>(shape.n()));
  return report;
}

// Every layer finds its operands in DRAM, at the beginning, and leaves its results there, requantised to
// int8.
array::LayerLaunch launch_of(const std::vector<TopologyLayer>& layers, std::size_t i,
                             const configs::ChipConfig& chip) {
  array::LayerLaunch launch;
  launch.shape = layers[i].shape;
  const Places places = places_of(launch.shape);
  launch.weights = places.weights;
  launch.output = places.output;
  launch.requantization = places.table;
  if (chip.memory && chip.memory->layer_overlap && i + 1 < layers.size())
    launch.next = array::NextWeights{layers[i + 1].shape, places_of(layers[i + 1].shape).weights};
  return launch;
}

// `run` launches one layer and returns its array::LaunchReport.
template <class Run>
LayerReport run_layer(const std::vector<TopologyLayer>& layers, std::size_t i,
                      const configs::ChipConfig& chip, const BypassCounts& bypassed,
                      const workloads::LayerHooks& hooks, Run&& run) {
  LayerReport report = describe(layers[i], chip, bypassed);
  const array::LayerLaunch launch = launch_of(layers, i, chip);
  if (hooks.begin) hooks.begin(report.layer);
  try {
    workloads::add_launch(report, launch, run(launch), chip);
  } catch (const common::InputError& problem) {
    throw common::InputError(fmt::format("layer '{}': {}", report.layer, problem.what()));
  }
  if (hooks.end) hooks.end(report.cycles);
  return report;
}

}  // namespace

std::vector<LayerReport> topology_costs(const std::vector<TopologyLayer>& layers,
                                        const configs::ChipConfig& chip, const faults::ArrayFaults& faults,
                                        const workloads::LayerHooks& hooks, array::TimelineSink sink) {
  const BypassCounts bypassed(faults);
  array::LayerCalendar calendar(chip);
  if (sink) calendar.observe(std::move(sink));
  std::vector<LayerReport> reports;
  for (std::size_t i = 0; i < layers.size(); ++i)
    reports.push_back(run_layer(layers, i, chip, bypassed, hooks,
                                [&](const array::LayerLaunch& launch) { return calendar.run(launch); }));
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
                                          array::Accelerator& device, const faults::ArrayFaults& faults,
                                          const workloads::LayerHooks& hooks) {
  const BypassCounts bypassed(faults);
  std::vector<LayerReport> reports;
  for (std::size_t i = 0; i < layers.size(); ++i) {
    common::RandomStream random(1, "topology", i);
    const Places places = places_of(layers[i].shape);
    std::vector<std::int8_t> operands(static_cast<std::size_t>(places.table));
    for (std::int8_t& value : operands) value = static_cast<std::int8_t>(random.next() >> 56);
    device.data_to_device(0, std::as_bytes(std::span(operands)));
    const std::vector<array::Requantization> table(static_cast<std::size_t>(layers[i].shape.out_c),
                                                   {.multiplier = 1, .shift = 8});
    device.data_to_device(places.table, array::as_device_bytes(std::span(table)));
    reports.push_back(run_layer(layers, i, device.chip(), bypassed, hooks,
                                [&](const array::LayerLaunch& launch) { return device.launch(launch); }));
  }
  return reports;
}

}  // namespace kintsugi::sim

// What the layers of a topology cost on a chip. Topologies have sizes and no data, so nothing but cycles and
// what follows from them is reported.
#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

#include "array/accelerator.h"
#include "configs/chip.h"
#include "faults/array_faults.h"
#include "workloads/layer_report.h"
#include "workloads/topology.h"

namespace kintsugi::sim {

// By the calendar (array/layer_calendar.h): no number is computed. `sink` may be empty. Throws
// common::InputError naming a layer that the unified buffer cannot hold.
std::vector<workloads::LayerReport> topology_costs(const std::vector<workloads::TopologyLayer>& layers,
                                                   const configs::ChipConfig& chip,
                                                   const faults::ArrayFaults& faults,
                                                   const workloads::LayerHooks& hooks = {},
                                                   array::TimelineSink sink = {});

// Bytes of device memory that measure_topology() needs. Throws common::InputError naming `file` if a layer is
// too large to be held.
std::uint64_t topology_memory(const std::vector<workloads::TopologyLayer>& layers,
                              const std::filesystem::path& file);

// By running every layer on the device, with random operands (stream "topology", seed 1).
std::vector<workloads::LayerReport> measure_topology(const std::vector<workloads::TopologyLayer>& layers,
                                                     array::Accelerator& device,
                                                     const faults::ArrayFaults& faults,
                                                     const workloads::LayerHooks& hooks = {});

}  // namespace kintsugi::sim

// What the layers of a topology cost on a chip. Topologies have sizes and no data, so nothing but cycles and
// what follows from them is reported.
#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

#include "array/accelerator.h"
#include "configs/chip.h"
#include "faults/array_faults.h"
#include "workloads/inference.h"
#include "workloads/topology.h"

namespace kintsugi::sim {

// By the schedule's closed form (array/schedule.h): no number is computed.
std::vector<workloads::LayerReport> topology_costs(const std::vector<workloads::TopologyLayer>& layers,
                                                   const configs::ChipConfig& chip,
                                                   const faults::ArrayFaults& faults);

// Bytes of device memory that measure_topology() needs. Throws common::InputError naming `file` if a layer is
// too large to be held.
std::uint64_t topology_memory(const std::vector<workloads::TopologyLayer>& layers,
                              const std::filesystem::path& file);

// By running every layer on the device, with random operands (stream "topology", seed 1).
std::vector<workloads::LayerReport> measure_topology(const std::vector<workloads::TopologyLayer>& layers,
                                                     array::Accelerator& device,
                                                     const faults::ArrayFaults& faults);

}  // namespace kintsugi::sim

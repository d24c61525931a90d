// One chip and its surroundings, wired: host, bus, memory, array. Read the constructor to see the hardware.
#pragma once

#include <cstdint>
#include <memory>
#include <systemc>

#include "array/array_target_sc.h"
#include "configs/chip.h"
#include "configs/fidelity.h"
#include "memory/buffer_target_sc.h"
#include "memory/memory_target.h"
#include "memory/router.h"
#include "sim/host.h"

namespace kintsugi::sim {

// The address map: memory from 0; with a memory system the unified buffer at array::kBufferBase, the weight
// FIFO at array::kFifoBase and the accumulators at array::kAccumulatorBase; the array's registers above them.
inline constexpr std::uint64_t kMemoryBase = 0;
inline constexpr std::uint64_t kArrayBase = std::uint64_t{1} << 48;

class Platform : public sc_core::sc_module {
 public:
  // `pool` (functional fidelity) may be null. Time resolution must be 1 fs.
  Platform(sc_core::sc_module_name name, const configs::ChipConfig& chip, configs::Fidelity fidelity,
           common::ThreadPool* pool, std::uint64_t memory_bytes, bool dmi);

  Host host;
  memory::Router bus;
  memory::MemoryTarget memory;
  // On a chip with a memory system.
  std::unique_ptr<memory::BufferTarget> unified_buffer, weight_fifo, accumulators;
  array::ArrayTarget array;
  sc_core::sc_signal<bool> interrupt{"interrupt"};
};

}  // namespace kintsugi::sim

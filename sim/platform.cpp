#include "sim/platform.h"

#include <optional>

namespace kintsugi::sim {
namespace {

std::optional<memory::MemoryTiming> timing_of(const configs::ChipConfig& chip) {
  if (!chip.memory) return std::nullopt;
  return memory::MemoryTiming{chip.memory->dram, chip.clock_mhz, array::cycle_femtoseconds(chip.clock_mhz)};
}

}  // namespace

Platform::Platform(sc_core::sc_module_name name, const configs::ChipConfig& chip, configs::Fidelity fidelity,
                   common::ThreadPool* pool, std::uint64_t memory_bytes, bool dmi)
    : sc_core::sc_module(name),
      host("host", kArrayBase),
      bus("bus"),
      memory("memory", memory_bytes, dmi, timing_of(chip)),
      array("array", chip, fidelity, pool) {
  // Two initiators …
  host.bus.socket.bind(bus.from_initiators);
  array.dma.socket.bind(bus.from_initiators);

  // … two targets …
  bus.map(kMemoryBase, memory.bytes(), memory.socket);
  bus.map(kArrayBase, array::kArrayTargetBytes, array.registers);

  // … on a chip with a memory system three more, and the DMA engine between DRAM and them …
  if (chip.memory) {
    const configs::MemoryConfig& config = *chip.memory;
    const auto cols = static_cast<std::uint64_t>(chip.array.cols);
    const std::uint64_t pes = cols * static_cast<std::uint64_t>(chip.array.rows);
    unified_buffer = std::make_unique<memory::BufferTarget>(
        "unified_buffer", "the unified buffer", static_cast<std::uint64_t>(config.unified_buffer.bytes), 1u,
        dmi);
    weight_fifo = std::make_unique<memory::BufferTarget>(
        "weight_fifo", "the weight FIFO", static_cast<std::uint64_t>(config.weight_fifo_tiles) * pes, 1u,
        dmi);
    accumulators = std::make_unique<memory::BufferTarget>(
        "accumulators", "the accumulators",
        static_cast<std::uint64_t>(config.accumulators.entries) * cols * 4, 4u, dmi);
    bus.map(array::kBufferBase, unified_buffer->bytes(), unified_buffer->socket);
    bus.map(array::kFifoBase, weight_fifo->bytes(), weight_fifo->socket);
    bus.map(array::kAccumulatorBase, accumulators->bytes(), accumulators->socket);
    array.dma_engine()->dram.bind(bus.from_initiators);
    array.dma_engine()->chip.bind(bus.from_initiators);
    array.count_traffic_of(memory);
  }

  // … and one wire from the array to the host.
  array.interrupt.bind(interrupt);
  host.interrupt.bind(interrupt);
}

}  // namespace kintsugi::sim

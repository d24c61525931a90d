#include "sim/platform.h"

namespace kintsugi::sim {

Platform::Platform(sc_core::sc_module_name name, const configs::ChipConfig& chip, configs::Fidelity fidelity,
                   common::ThreadPool* pool, std::uint64_t memory_bytes, bool dmi)
    : sc_core::sc_module(name),
      host("host", kArrayBase),
      bus("bus"),
      memory("memory", memory_bytes, dmi),
      array("array", chip, fidelity, pool) {
  // Two initiators …
  host.bus.socket.bind(bus.from_initiators);
  array.dma.socket.bind(bus.from_initiators);

  // … two targets …
  bus.map(kMemoryBase, memory.bytes(), memory.socket);
  bus.map(kArrayBase, array::kArrayTargetBytes, array.registers);

  // … and one wire from the array to the host.
  array.interrupt.bind(interrupt);
  host.interrupt.bind(interrupt);
}

}  // namespace kintsugi::sim

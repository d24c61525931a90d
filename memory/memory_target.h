// Device memory as a TLM-2.0 target: ideal, that is without latency and with any bandwidth, or timed as DRAM.
//
// What it allows and refuses: memory/tlm_storage.h. Timed, a transaction that arrives in cycle
// ⌊(now + delay) / cycle⌋ is annotated with the delay that takes it to the beginning of the cycle in which
// DramTiming completes it, in the order of the calls; a read and a write, or two writes, may not touch the
// same bytes while one of them is in flight (generic error). Debug accesses and DMI take no time.
#pragma once

#include <tlm.h>
#include <tlm_utils/simple_target_socket.h>

#include <cstdint>
#include <optional>
#include <systemc>

#include "configs/memory.h"
#include "memory/dram_timing.h"
#include "memory/in_flight.h"
#include "memory/tlm_storage.h"

namespace kintsugi::memory {

// `cycle`: a whole number of femtoseconds, the chip's (the simulation's time resolution must be 1 fs).
struct MemoryTiming {
  configs::DramConfig dram;
  double clock_mhz = 700;
  std::uint64_t cycle = 0;
};

class MemoryTarget : public sc_core::sc_module {
 public:
  tlm_utils::simple_target_socket<MemoryTarget, 64> socket{"socket"};

  // `grant_dmi` false: every access is a transaction (for tests, and for watching traffic). Without `timing`:
  // ideal. Throws std::invalid_argument for a cycle of 0 fs.
  MemoryTarget(sc_core::sc_module_name name, std::uint64_t bytes, bool grant_dmi = true,
               const std::optional<MemoryTiming>& timing = std::nullopt);

  std::uint64_t bytes() const { return storage_.bytes(); }
  // Transactions served by b_transport, errors included.
  std::uint64_t transactions() const { return transactions_; }
  // Since construction; 0 of an ideal memory. Bytes count bursts whole; rows count bursts, with a row buffer.
  std::int64_t bus_bytes() const { return timing_ ? timing_->bus_bytes() : 0; }
  std::int64_t row_hits() const { return timing_ ? timing_->row_hits() : 0; }
  std::int64_t row_misses() const { return timing_ ? timing_->row_misses() : 0; }

 private:
  void b_transport(tlm::tlm_generic_payload& transaction, sc_core::sc_time& delay);
  unsigned int transport_dbg(tlm::tlm_generic_payload& transaction);
  bool get_direct_mem_ptr(tlm::tlm_generic_payload& transaction, tlm::tlm_dmi& dmi);
  // Takes an accepted access over the bus, unless it races with one in flight; then it is refused.
  bool schedule(tlm::tlm_generic_payload& transaction, sc_core::sc_time& delay);

  TlmStorage storage_;
  std::optional<DramTiming> timing_;
  std::uint64_t cycle_ = 0;
  InFlight in_flight_;
  std::uint64_t transactions_ = 0;
};

}  // namespace kintsugi::memory

// Device memory as a TLM-2.0 target: ideal, that is without latency and with any bandwidth.
//
// Honours byte enables. Refuses what it does not do with the response that the standard names: an access
// outside the memory is an address error, a streaming width below the data length a burst error. Grants DMI
// for the whole memory unless told not to.
#pragma once

#include <tlm.h>
#include <tlm_utils/simple_target_socket.h>

#include <cstdint>
#include <systemc>

#include "memory/reserved_memory.h"

namespace kintsugi::memory {

class MemoryTarget : public sc_core::sc_module {
 public:
  tlm_utils::simple_target_socket<MemoryTarget, 64> socket{"socket"};

  // `grant_dmi` false: every access is a transaction (for tests, and for watching traffic).
  MemoryTarget(sc_core::sc_module_name name, std::uint64_t bytes, bool grant_dmi = true);

  std::uint64_t bytes() const { return storage_.size(); }
  // Transactions served by b_transport, errors included.
  std::uint64_t transactions() const { return transactions_; }

 private:
  void b_transport(tlm::tlm_generic_payload& transaction, sc_core::sc_time& delay);
  unsigned int transport_dbg(tlm::tlm_generic_payload& transaction);
  bool get_direct_mem_ptr(tlm::tlm_generic_payload& transaction, tlm::tlm_dmi& dmi);

  ReservedMemory storage_;
  bool grant_dmi_;
  std::uint64_t transactions_ = 0;
};

}  // namespace kintsugi::memory

// Storage on the chip as a TLM-2.0 target: unified buffer, weight FIFO (its slots one after the other),
// accumulators. Takes no time of its own: how fast ports move data is part of the rules of docs/timing.md,
// and kept by those who use them.
//
// What it allows and refuses: memory/tlm_storage.h. Grants DMI for all of itself, so that operands can be
// read in place.
#pragma once

#include <tlm.h>
#include <tlm_utils/simple_target_socket.h>

#include <cstdint>
#include <string>
#include <systemc>

#include "memory/tlm_storage.h"

namespace kintsugi::memory {

class BufferTarget : public sc_core::sc_module {
 public:
  tlm_utils::simple_target_socket<BufferTarget, 64> socket{"socket"};

  // Addresses 0 … bytes − 1. `what` is its name in messages ("the unified buffer"). Addresses and lengths of
  // transactions must be multiples of `word_bytes`: 1, or 4 for accumulators.
  BufferTarget(sc_core::sc_module_name name, std::string what, std::uint64_t bytes,
               unsigned int word_bytes = 1, bool grant_dmi = true);

  std::uint64_t bytes() const { return storage_.bytes(); }

 private:
  void b_transport(tlm::tlm_generic_payload& transaction, sc_core::sc_time& delay);
  unsigned int transport_dbg(tlm::tlm_generic_payload& transaction);
  bool get_direct_mem_ptr(tlm::tlm_generic_payload& transaction, tlm::tlm_dmi& dmi);

  TlmStorage storage_;
};

}  // namespace kintsugi::memory

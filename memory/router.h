// Interconnect: any number of initiators, targets by address range, no time of its own.
//
// A transaction goes to the target whose range holds its first byte, with its address made relative to that
// range (and restored on the way back, as TLM-2.0 asks; its Origin remembers). One that hits no range, or
// runs past the end of its range, is answered with an address error. DMI regions are translated and cut to
// the range.
#pragma once

#include <tlm.h>
#include <tlm_utils/multi_passthrough_initiator_socket.h>
#include <tlm_utils/multi_passthrough_target_socket.h>

#include <cstdint>
#include <string>
#include <systemc>
#include <vector>

namespace kintsugi::memory {

class Router : public sc_core::sc_module {
 public:
  tlm_utils::multi_passthrough_target_socket<Router, 64> from_initiators{"from_initiators"};

  explicit Router(sc_core::sc_module_name name);

  // Binds `target` to addresses base … base + size − 1. Ranges must not overlap (std::invalid_argument).
  template <class TargetSocket>
  void map(std::uint64_t base, std::uint64_t size, TargetSocket& target) {
    add_range(base, size);
    to_targets_.bind(target);
  }

 private:
  struct Range {
    std::uint64_t base = 0;
    std::uint64_t size = 0;
    bool holds(std::uint64_t address) const { return address >= base && address - base < size; }
  };

  void add_range(std::uint64_t base, std::uint64_t size);
  // Index of the range that holds `address`, −1 if none.
  int find(std::uint64_t address) const;
  // "0x0 … 0xfff, 0x10000 … 0x100ff"
  std::string mapped() const;

  void b_transport(int initiator, tlm::tlm_generic_payload& transaction, sc_core::sc_time& delay);
  unsigned int transport_dbg(int initiator, tlm::tlm_generic_payload& transaction);
  bool get_direct_mem_ptr(int initiator, tlm::tlm_generic_payload& transaction, tlm::tlm_dmi& dmi);
  void invalidate_direct_mem_ptr(int target, sc_dt::uint64 start, sc_dt::uint64 end);

  tlm_utils::multi_passthrough_initiator_socket<Router, 64> to_targets_{"to_targets"};
  std::vector<Range> ranges_;  // in the order of to_targets_
};

}  // namespace kintsugi::memory

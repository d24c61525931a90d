// A DRAM from another house, as docs/memory-models.md shows it: it serves one access at a time, takes 20 ns
// and 1 ns per 16 bytes for each, and waits where ours annotates delays.
#pragma once

#include <tlm.h>
#include <tlm_utils/simple_target_socket.h>

#include <algorithm>
#include <cstring>
#include <systemc>
#include <vector>

class ForeignDram : public sc_core::sc_module {
 public:
  tlm_utils::simple_target_socket<ForeignDram, 64> socket{"socket"};

  ForeignDram(sc_core::sc_module_name name, std::size_t bytes) : sc_core::sc_module(name), storage_(bytes) {
    socket.register_b_transport(this, &ForeignDram::b_transport);
    socket.register_transport_dbg(this, &ForeignDram::transport_dbg);
  }

 private:
  void b_transport(tlm::tlm_generic_payload& transaction, sc_core::sc_time& delay) {
    const sc_core::sc_time arrival = sc_core::sc_time_stamp() + delay;
    const double nanoseconds = 20 + transaction.get_data_length() / 16.0;
    free_ = std::max(free_, arrival) + sc_core::sc_time(nanoseconds, sc_core::SC_NS);
    delay = sc_core::SC_ZERO_TIME;
    wait(free_ - sc_core::sc_time_stamp());
    const bool moved = transport_dbg(transaction) == transaction.get_data_length();
    transaction.set_response_status(moved ? tlm::TLM_OK_RESPONSE : tlm::TLM_ADDRESS_ERROR_RESPONSE);
  }

  // No time passes here. The host fills and reads the memory this way.
  unsigned int transport_dbg(tlm::tlm_generic_payload& transaction) {
    const std::uint64_t address = transaction.get_address(), length = transaction.get_data_length();
    if (address > storage_.size() || length > storage_.size() - address) return 0;
    unsigned char *stored = storage_.data() + address, *data = transaction.get_data_ptr();
    if (transaction.is_read()) std::memcpy(data, stored, length);
    if (transaction.is_write()) std::memcpy(stored, data, length);
    return transaction.get_data_length();
  }

  std::vector<unsigned char> storage_;
  sc_core::sc_time free_;
};

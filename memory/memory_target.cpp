#include "memory/memory_target.h"

#include <algorithm>
#include <cstring>

namespace kintsugi::memory {
namespace {

// Copies under a byte-enable mask, which repeats if it is shorter than the data.
void copy_enabled(unsigned char* to, const unsigned char* from, unsigned int length,
                  const unsigned char* enables, unsigned int enables_length) {
  for (unsigned int i = 0; i < length; ++i) {
    if (enables[i % enables_length] == TLM_BYTE_ENABLED) to[i] = from[i];
  }
}

}  // namespace

MemoryTarget::MemoryTarget(sc_core::sc_module_name name, std::uint64_t bytes, bool grant_dmi)
    : sc_core::sc_module(name), storage_(bytes), grant_dmi_(grant_dmi) {
  socket.register_b_transport(this, &MemoryTarget::b_transport);
  socket.register_transport_dbg(this, &MemoryTarget::transport_dbg);
  socket.register_get_direct_mem_ptr(this, &MemoryTarget::get_direct_mem_ptr);
}

void MemoryTarget::b_transport(tlm::tlm_generic_payload& transaction, sc_core::sc_time&) {
  ++transactions_;
  const std::uint64_t address = transaction.get_address();
  const unsigned int length = transaction.get_data_length();
  if (!storage_.holds(address, length)) {
    transaction.set_response_status(tlm::TLM_ADDRESS_ERROR_RESPONSE);
    return;
  }
  if (length == 0 || transaction.get_streaming_width() < length) {
    transaction.set_response_status(tlm::TLM_BURST_ERROR_RESPONSE);
    return;
  }
  const unsigned char* enables = transaction.get_byte_enable_ptr();
  const unsigned int enables_length = transaction.get_byte_enable_length();
  if (enables != nullptr && enables_length == 0) {
    transaction.set_response_status(tlm::TLM_BYTE_ENABLE_ERROR_RESPONSE);
    return;
  }
  unsigned char* stored = reinterpret_cast<unsigned char*>(storage_.data()) + address;
  unsigned char* data = transaction.get_data_ptr();
  if (transaction.is_read()) {
    if (enables != nullptr) {
      copy_enabled(data, stored, length, enables, enables_length);
    } else {
      std::memcpy(data, stored, length);
    }
  } else if (transaction.is_write()) {
    if (enables != nullptr) {
      copy_enabled(stored, data, length, enables, enables_length);
    } else {
      std::memcpy(stored, data, length);
    }
  }
  transaction.set_dmi_allowed(grant_dmi_);
  transaction.set_response_status(tlm::TLM_OK_RESPONSE);
}

unsigned int MemoryTarget::transport_dbg(tlm::tlm_generic_payload& transaction) {
  const std::uint64_t address = transaction.get_address();
  if (address >= storage_.size()) return 0;
  const auto length = static_cast<unsigned int>(
      std::min<std::uint64_t>(transaction.get_data_length(), storage_.size() - address));
  std::byte* stored = storage_.data() + address;
  if (transaction.is_read()) {
    std::memcpy(transaction.get_data_ptr(), stored, length);
  } else if (transaction.is_write()) {
    std::memcpy(stored, transaction.get_data_ptr(), length);
  }
  return length;
}

bool MemoryTarget::get_direct_mem_ptr(tlm::tlm_generic_payload& transaction, tlm::tlm_dmi& dmi) {
  dmi.set_start_address(0);
  dmi.set_end_address(storage_.size() - 1);
  if (!grant_dmi_ || transaction.get_address() >= storage_.size()) {
    dmi.allow_none();
    return false;
  }
  dmi.set_dmi_ptr(reinterpret_cast<unsigned char*>(storage_.data()));
  dmi.set_read_latency(sc_core::SC_ZERO_TIME);
  dmi.set_write_latency(sc_core::SC_ZERO_TIME);
  dmi.allow_read_write();
  return true;
}

}  // namespace kintsugi::memory

#include "memory/buffer_target_sc.h"

#include <utility>

namespace kintsugi::memory {

BufferTarget::BufferTarget(sc_core::sc_module_name name, std::string what, std::uint64_t bytes,
                           unsigned int word_bytes, bool grant_dmi)
    : sc_core::sc_module(name), storage_(this->name(), std::move(what), bytes, word_bytes, grant_dmi) {
  socket.register_b_transport(this, &BufferTarget::b_transport);
  socket.register_transport_dbg(this, &BufferTarget::transport_dbg);
  socket.register_get_direct_mem_ptr(this, &BufferTarget::get_direct_mem_ptr);
}

void BufferTarget::b_transport(tlm::tlm_generic_payload& transaction, sc_core::sc_time&) {
  if (storage_.accepts(transaction)) storage_.serve(transaction);
}

unsigned int BufferTarget::transport_dbg(tlm::tlm_generic_payload& transaction) {
  return storage_.debug(transaction);
}

bool BufferTarget::get_direct_mem_ptr(tlm::tlm_generic_payload& transaction, tlm::tlm_dmi& dmi) {
  return storage_.grant(transaction, dmi);
}

}  // namespace kintsugi::memory

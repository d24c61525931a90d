#include "memory/memory_target.h"

#include <fmt/format.h>

#include <stdexcept>

#include "memory/origin.h"

namespace kintsugi::memory {

MemoryTarget::MemoryTarget(sc_core::sc_module_name name, std::uint64_t bytes, bool grant_dmi,
                           const std::optional<MemoryTiming>& timing)
    : sc_core::sc_module(name), storage_(this->name(), "memory", bytes, 1, grant_dmi) {
  if (timing) {
    if (timing->cycle == 0) throw std::invalid_argument(fmt::format("{}: a cycle of 0 fs", this->name()));
    timing_.emplace(timing->dram, timing->clock_mhz);
    cycle_ = timing->cycle;
  }
  socket.register_b_transport(this, &MemoryTarget::b_transport);
  socket.register_transport_dbg(this, &MemoryTarget::transport_dbg);
  socket.register_get_direct_mem_ptr(this, &MemoryTarget::get_direct_mem_ptr);
}

void MemoryTarget::b_transport(tlm::tlm_generic_payload& transaction, sc_core::sc_time& delay) {
  ++transactions_;
  if (!storage_.accepts(transaction)) return;
  const bool moves = transaction.is_read() || transaction.is_write();
  if (timing_ && moves && !schedule(transaction, delay)) return;
  storage_.serve(transaction);
}

bool MemoryTarget::schedule(tlm::tlm_generic_payload& transaction, sc_core::sc_time& delay) {
  const std::uint64_t now = sc_core::sc_time_stamp().value();
  const auto arrival = static_cast<std::int64_t>((now + delay.value()) / cycle_);
  const std::uint64_t begin = transaction.get_address();
  const unsigned int length = transaction.get_data_length();
  const bool write = transaction.is_write();

  // By the simulation's time, not by the arrival: another initiator may be less far ahead of it.
  in_flight_.forget(static_cast<std::int64_t>(now / cycle_));
  if (const InFlight::Transfer* other = in_flight_.race(write, begin, begin + length, arrival)) {
    const Origin* origin = transaction.get_extension<Origin>();
    refuse(
        transaction, tlm::TLM_GENERIC_ERROR_RESPONSE, storage_.target(),
        fmt::format("arrives in cycle {} and overlaps a {} of {} bytes at {:#x} that is in flight; allowed "
                    "from cycle {} on",
                    arrival, other->write ? "write" : "read", other->end - other->begin,
                    other->begin + (origin != nullptr ? origin->base : 0), other->complete));
    return false;
  }
  const std::int64_t complete = timing_->serve(arrival, begin, length);
  in_flight_.add({.write = write, .begin = begin, .end = begin + length, .complete = complete});
  delay = sc_core::sc_time::from_value(static_cast<std::uint64_t>(complete) * cycle_ - now);
  return true;
}

unsigned int MemoryTarget::transport_dbg(tlm::tlm_generic_payload& transaction) {
  return storage_.debug(transaction);
}

bool MemoryTarget::get_direct_mem_ptr(tlm::tlm_generic_payload& transaction, tlm::tlm_dmi& dmi) {
  return storage_.grant(transaction, dmi);
}

}  // namespace kintsugi::memory

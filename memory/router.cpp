#include "memory/router.h"

#include <fmt/format.h>

#include <algorithm>
#include <stdexcept>

#include "memory/origin.h"

namespace kintsugi::memory {

Router::Router(sc_core::sc_module_name name) : sc_core::sc_module(name) {
  from_initiators.register_b_transport(this, &Router::b_transport);
  from_initiators.register_transport_dbg(this, &Router::transport_dbg);
  from_initiators.register_get_direct_mem_ptr(this, &Router::get_direct_mem_ptr);
  to_targets_.register_invalidate_direct_mem_ptr(this, &Router::invalidate_direct_mem_ptr);
}

void Router::add_range(std::uint64_t base, std::uint64_t size) {
  if (size == 0 || base + (size - 1) < base) {
    throw std::invalid_argument(fmt::format("range of {} bytes at {:#x} is empty or wraps", size, base));
  }
  for (const Range& range : ranges_) {
    if (range.holds(base) || (base < range.base && range.base - base < size)) {
      throw std::invalid_argument(
          fmt::format("range of {} bytes at {:#x} overlaps the one at {:#x}", size, base, range.base));
    }
  }
  ranges_.push_back({base, size});
}

int Router::find(std::uint64_t address) const {
  for (std::size_t i = 0; i < ranges_.size(); ++i) {
    if (ranges_[i].holds(address)) return static_cast<int>(i);
  }
  return -1;
}

std::string Router::mapped() const {
  std::string text;
  for (const Range& range : ranges_) {
    text +=
        fmt::format("{}{:#x} … {:#x}", text.empty() ? "" : ", ", range.base, range.base + (range.size - 1));
  }
  return text.empty() ? "nothing" : text;
}

void Router::b_transport(int, tlm::tlm_generic_payload& transaction, sc_core::sc_time& delay) {
  const std::uint64_t address = transaction.get_address();
  const int target = find(address);
  if (target < 0 || transaction.get_data_length() > ranges_[target].size - (address - ranges_[target].base)) {
    refuse(transaction, tlm::TLM_ADDRESS_ERROR_RESPONSE, name(),
           target < 0 ? fmt::format("reaches no target; mapped are {}", mapped())
                      : fmt::format("runs past the end of {:#x} … {:#x}, which is one target's",
                                    ranges_[target].base, ranges_[target].base + (ranges_[target].size - 1)));
    return;
  }
  const std::uint64_t base = ranges_[target].base;
  Origin* origin = transaction.get_extension<Origin>();
  transaction.set_address(address - base);
  if (origin != nullptr) origin->base += base;
  to_targets_[target]->b_transport(transaction, delay);
  transaction.set_address(address);
  if (origin != nullptr) origin->base -= base;
}

unsigned int Router::transport_dbg(int, tlm::tlm_generic_payload& transaction) {
  const std::uint64_t address = transaction.get_address();
  const int target = find(address);
  if (target < 0) return 0;
  transaction.set_address(address - ranges_[target].base);
  const unsigned int moved = to_targets_[target]->transport_dbg(transaction);
  transaction.set_address(address);
  return moved;
}

bool Router::get_direct_mem_ptr(int, tlm::tlm_generic_payload& transaction, tlm::tlm_dmi& dmi) {
  const std::uint64_t address = transaction.get_address();
  const int target = find(address);
  if (target < 0) {
    dmi.allow_none();
    return false;
  }
  const Range& range = ranges_[target];
  transaction.set_address(address - range.base);
  const bool granted = to_targets_[target]->get_direct_mem_ptr(transaction, dmi);
  transaction.set_address(address);
  dmi.set_start_address(range.base + dmi.get_start_address());
  dmi.set_end_address(range.base + std::min<std::uint64_t>(dmi.get_end_address(), range.size - 1));
  return granted;
}

void Router::invalidate_direct_mem_ptr(int target, sc_dt::uint64 start, sc_dt::uint64 end) {
  const Range& range = ranges_[target];
  const sc_dt::uint64 last = range.base + std::min<std::uint64_t>(end, range.size - 1);
  for (unsigned int i = 0; i < from_initiators.size(); ++i) {
    from_initiators[static_cast<int>(i)]->invalidate_direct_mem_ptr(range.base + start, last);
  }
}

}  // namespace kintsugi::memory

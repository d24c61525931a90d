#include "memory/in_flight.h"

#include <algorithm>

namespace kintsugi::memory {

void InFlight::add(const Transfer& transfer) {
  Side& side = transfer.write ? writes_ : reads_;
  const bool first = side.transfers.empty();
  side.low = first ? transfer.begin : std::min(side.low, transfer.begin);
  side.high = first ? transfer.end : std::max(side.high, transfer.end);
  side.transfers.push_back(transfer);
}

void InFlight::forget(std::int64_t cycle) {
  for (Side* side : {&reads_, &writes_}) {
    while (!side->transfers.empty() && side->transfers.front().complete <= cycle) side->transfers.pop_front();
  }
}

const InFlight::Transfer* InFlight::race(bool write, std::uint64_t begin, std::uint64_t end,
                                         std::int64_t cycle) const {
  if (const Transfer* other = writes_.overlapping(begin, end, cycle)) return other;
  return write ? reads_.overlapping(begin, end, cycle) : nullptr;
}

const InFlight::Transfer* InFlight::Side::overlapping(std::uint64_t begin, std::uint64_t end,
                                                      std::int64_t cycle) const {
  if (transfers.empty() || begin >= high || end <= low) return nullptr;
  for (const Transfer& transfer : transfers) {
    if (transfer.complete > cycle && begin < transfer.end && transfer.begin < end) return &transfer;
  }
  return nullptr;
}

}  // namespace kintsugi::memory

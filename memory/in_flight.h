// The transfers that a memory has accepted and not yet completed, to find those that would race: two that
// overlap, at least one of them a write. Pure C++.
#pragma once

#include <cstdint>
#include <deque>

namespace kintsugi::memory {

class InFlight {
 public:
  struct Transfer {
    bool write = false;
    std::uint64_t begin = 0, end = 0;  // addresses, half open
    std::int64_t complete = 0;         // the cycle from which it is over
  };

  // Cycles in which transfers complete never go back from call to call.
  void add(const Transfer& transfer);
  // Forgets what is complete in `cycle`.
  void forget(std::int64_t cycle);
  // One that a transfer of [begin, end) that arrives in `cycle` would race with, or nullptr. Good until the
  // next call of another member.
  const Transfer* race(bool write, std::uint64_t begin, std::uint64_t end, std::int64_t cycle) const;

 private:
  // One direction. `low` and `high` bound all that was added since it was last empty: most transfers are
  // found harmless by that alone.
  struct Side {
    std::deque<Transfer> transfers;
    std::uint64_t low = 0, high = 0;
    const Transfer* overlapping(std::uint64_t begin, std::uint64_t end, std::int64_t cycle) const;
  };
  Side reads_, writes_;
};

}  // namespace kintsugi::memory

// When DRAM serves a transfer: one bus of a given bandwidth, whole bursts, a fixed latency, and optionally
// open rows. The only timing of DRAM there is: the TLM target and the calendar without SystemC both ask it.
// Pure C++.
//
// The bus serves in the order of the calls. Its time is exact, in fractions of a cycle: a burst occupies it
// for burst_bytes · clock / bandwidth cycles, and only the end of a whole transfer is rounded up to a cycle.
#pragma once

#include <cstdint>
#include <vector>

#include "configs/memory.h"

namespace kintsugi::memory {

class DramTiming {
 public:
  // Clock and bandwidth are taken as whole kHz and kB/s.
  DramTiming(const configs::DramConfig& config, double clock_mhz);

  // A transfer of `bytes` ≥ 1 from `address` that reaches the DRAM in `cycle`, which must not be before that
  // of an earlier call. Returns the cycle from which it is complete: the end on the bus, rounded up, plus the
  // latency, ceil(latency_ns · clock).
  std::int64_t serve(std::int64_t cycle, std::uint64_t address, std::int64_t bytes);

  // Since construction.
  std::int64_t bus_bytes() const { return bursts_ * burst_bytes_; }
  std::int64_t row_hits() const { return row_hits_; }
  std::int64_t row_misses() const { return row_misses_; }

 private:
  std::int64_t burst_bytes_;
  std::int64_t ticks_per_cycle_, ticks_per_byte_;  // reduced
  std::int64_t latency_cycles_;
  std::int64_t free_cycle_ = 0,
               free_ticks_ = 0;  // the bus: free from this cycle plus ticks / ticks_per_cycle
  std::int64_t bursts_ = 0, row_hits_ = 0, row_misses_ = 0;
  std::int64_t row_bytes_ = 0, miss_cycles_ = 0;
  std::vector<std::int64_t> open_rows_;  // per bank, −1: none; empty without row buffers
};

}  // namespace kintsugi::memory

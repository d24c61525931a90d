#include "memory/dram_timing.h"

#include <fmt/format.h>

#include <cmath>
#include <numeric>
#include <stdexcept>

namespace kintsugi::memory {
namespace {

// Ticks of a large transfer do not fit 64 bits at clocks and bandwidths that share no factor.
__extension__ using Wide = __int128;

std::int64_t whole(double value, const char* what) {
  if (!(value >= 1 && value < 1e15)) {
    throw std::invalid_argument(fmt::format("DRAM timing: {} of {}: allowed are 1 to 10^15", what, value));
  }
  return std::llround(value);
}

// ceil(ns · clock), with the time taken as whole femtoseconds so that a whole number of cycles stays one.
std::int64_t cycles_of(double ns, std::int64_t clock_khz) {
  const Wide femtoseconds = std::llround(ns * 1e6);
  const Wide kFemtosecondsKhz = 1'000'000'000'000;
  return static_cast<std::int64_t>((femtoseconds * clock_khz + kFemtosecondsKhz - 1) / kFemtosecondsKhz);
}

}  // namespace

DramTiming::DramTiming(const configs::DramConfig& config, double clock_mhz)
    : burst_bytes_(config.burst_bytes) {
  const std::int64_t clock = whole(clock_mhz * 1e3, "a clock in kHz");
  const std::int64_t bandwidth = whole(config.bandwidth_gb_s * 1e6, "a bandwidth in kB/s");
  const std::int64_t common = std::gcd(clock, bandwidth);
  ticks_per_cycle_ = bandwidth / common;
  ticks_per_byte_ = clock / common;
  latency_cycles_ = cycles_of(config.latency_ns, clock);
  if (config.row_buffer) {
    row_bytes_ = config.row_buffer->row_bytes;
    miss_cycles_ = cycles_of(config.row_buffer->miss_ns, clock);
    open_rows_.assign(static_cast<std::size_t>(config.row_buffer->banks), -1);
  }
}

std::int64_t DramTiming::serve(std::int64_t cycle, std::uint64_t address, std::int64_t bytes) {
  const std::uint64_t burst = static_cast<std::uint64_t>(burst_bytes_);
  const std::uint64_t first = address / burst;
  const std::uint64_t last = (address + static_cast<std::uint64_t>(bytes) - 1) / burst;
  const auto bursts = static_cast<std::int64_t>(last - first + 1);

  if (cycle > free_cycle_) {
    free_cycle_ = cycle;
    free_ticks_ = 0;
  }
  if (!open_rows_.empty()) {
    const std::uint64_t bursts_of_row = static_cast<std::uint64_t>(row_bytes_) / burst;
    std::int64_t misses = 0;
    for (std::uint64_t row = first / bursts_of_row; row <= last / bursts_of_row; ++row) {
      std::int64_t& open = open_rows_[row % open_rows_.size()];
      if (open == static_cast<std::int64_t>(row)) continue;
      open = static_cast<std::int64_t>(row);
      ++misses;
    }
    free_cycle_ += misses * miss_cycles_;
    row_misses_ += misses;
    row_hits_ += bursts - misses;
  }
  const Wide ticks = Wide{bursts} * burst_bytes_ * ticks_per_byte_ + free_ticks_;
  free_cycle_ += static_cast<std::int64_t>(ticks / ticks_per_cycle_);
  free_ticks_ = static_cast<std::int64_t>(ticks % ticks_per_cycle_);
  bursts_ += bursts;
  return free_cycle_ + (free_ticks_ > 0 ? 1 : 0) + latency_cycles_;
}

}  // namespace kintsugi::memory

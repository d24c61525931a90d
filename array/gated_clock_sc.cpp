#include "array/gated_clock_sc.h"

#include <cmath>

namespace kintsugi::array {

std::uint64_t cycle_femtoseconds(double clock_mhz) {
  return static_cast<std::uint64_t>(std::llround(1e9 / clock_mhz));
}

GatedClock::GatedClock(sc_core::sc_module_name name, std::uint64_t cycle)
    : sc_core::sc_module(name),
      low_(sc_core::sc_time::from_value(cycle / 2)),
      high_(sc_core::sc_time::from_value(cycle - cycle / 2)) {
  clock.initialize(false);
}

std::int64_t GatedClock::run_until(const std::function<bool()>& done,
                                   const std::function<void(std::int64_t)>& after_cycle) {
  std::int64_t cycles = 0;
  while (!done()) {
    sc_core::wait(low_);
    clock.write(true);
    sc_core::wait(high_);
    clock.write(false);
    ++cycles;
    if (after_cycle) after_cycle(cycles);
  }
  return cycles;
}

}  // namespace kintsugi::array

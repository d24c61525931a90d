// A clock that runs only while there is work, so that an idle platform has no events.
#pragma once

#include <cstdint>
#include <functional>
#include <systemc>

namespace kintsugi::array {

// One cycle is a whole number of femtoseconds: round(1e9 / clock_mhz).
std::uint64_t cycle_femtoseconds(double clock_mhz);

class GatedClock : public sc_core::sc_module {
 public:
  sc_core::sc_out<bool> clock{"clock"};

  // `cycle` ≥ 2 fs.
  GatedClock(sc_core::sc_module_name name, std::uint64_t cycle);

  // Runs whole cycles until `done` holds, and returns how many; none if it holds already. A cycle is a low
  // half, a rising edge and a high half, and ends with the falling edge, where everything that the rising
  // edge set off has settled, `after_cycle` (may be empty) is told the number of cycles so far, and `done` is
  // asked. n cycles take exactly n · `cycle` femtoseconds. Call from an SC_THREAD.
  std::int64_t run_until(const std::function<bool()>& done,
                         const std::function<void(std::int64_t)>& after_cycle = {});

 private:
  sc_core::sc_time low_;
  sc_core::sc_time high_;
};

}  // namespace kintsugi::array

// The cycle fidelity as a SystemC module: array/cycle_array.h, one step per rising clock edge.
#pragma once

#include <systemc>

#include "array/clocked_array.h"
#include "array/cycle_array.h"

namespace kintsugi::array {

class CycleArray final : public ClockedArray {
 public:
  SC_HAS_PROCESS(CycleArray);
  CycleArray(sc_core::sc_module_name name, const configs::ArrayConfig& array);

  void load_faults(const faults::ArrayFaults& faults) override { machine_.load_faults(faults); }
  void start(const LayerJob& job, const Tiling& tiling, TileGate* gate, const sc_core::sc_time&,
             TimedJob* timed = nullptr) override {
    machine_.start(job, tiling, gate, timed);
  }
  bool done() const override { return machine_.done(); }
  const CycleBreakdown& breakdown() const override { return machine_.breakdown(); }
  void make_observable() override { machine_.make_observable(); }
  PeRegisters registers(int row, int col) const override { return machine_.registers(row, col); }

 private:
  void on_clock();

  CycleMachine machine_;
};

}  // namespace kintsugi::array

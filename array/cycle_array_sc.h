// The cycle fidelity as a SystemC module: array/cycle_array.h, one step per rising clock edge.
#pragma once

#include <systemc>

#include "array/clocked_array.h"
#include "array/cycle_array.h"

namespace kintsugi::array {

class CycleArray final : public ClockedArray {
 public:
  SC_HAS_PROCESS(CycleArray);
  CycleArray(sc_core::sc_module_name name, const configs::ArrayConfig& array,
             configs::ConvolutionMapping mapping);

  void load_faults(const faults::ArrayFaults& faults) override { machine_.load_faults(faults); }
  void start(const LayerJob& job) override { machine_.start(job); }
  bool done() const override { return machine_.done(); }
  void make_observable() override { machine_.make_observable(); }
  PeRegisters registers(int row, int col) const override { return machine_.registers(row, col); }

 private:
  void on_clock();

  CycleMachine machine_;
};

}  // namespace kintsugi::array

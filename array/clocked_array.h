// What the two clocked arrays (fidelities cycle and pe) have in common for the array target that drives them.
//
// Contract: after start(job), at every rising edge of the clock the array advances by one cycle; done()
// becomes true within the delta cycles of the edge after which the last result of the last tile stands in the
// accumulators. The number of edges from start to done is the job's cycle count; nothing computes it. The
// array moves only while its clock runs, and a job may be started only when none is running.
#pragma once

#include <systemc>

#include "array/layer_cost.h"
#include "array/layer_shape.h"
#include "array/pe_registers.h"
#include "array/tile_gate.h"
#include "array/timed_job.h"
#include "faults/array_faults.h"

namespace kintsugi::array {

class ClockedArray : public sc_core::sc_module {
 public:
  sc_core::sc_in<bool> clock{"clock"};

  explicit ClockedArray(sc_core::sc_module_name name) : sc_core::sc_module(name) {}

  // Size must be the array's; not while a job runs.
  virtual void load_faults(const faults::ArrayFaults& faults) = 0;
  // Operands must stay valid until done; accumulators are cleared first. `gate` (null: ideal memory) is asked
  // once a cycle, between 3/8 of the `cycle` (its length) and the rising edge at its half, and told what is
  // over at the rising edge or in the delta cycles after it. `timed` (null: no timing errors) must be of this
  // job and stay valid until done; its outputs are the caller's to flip.
  virtual void start(const LayerJob& job, const Tiling& tiling, TileGate* gate, const sc_core::sc_time& cycle,
                     TimedJob* timed = nullptr) = 0;
  virtual bool done() const = 0;
  // Of the last job: what its sequencer did in each of its cycles. No output stalls: those are not the
  // array's.
  virtual const CycleBreakdown& breakdown() const = 0;

  // For waveforms. Before faults are loaded: from now on registers() gives what PEs hold even where no result
  // depends on it. Results and cycles stay as they are.
  virtual void make_observable() {}
  // Between clock edges, with everything settled; make_observable() must have been called.
  virtual PeRegisters registers(int row, int col) const = 0;
};

}  // namespace kintsugi::array

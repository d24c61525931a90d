// The functional fidelity: outputs by clean runs and faulty PEs. No SystemC, and no time:
// what a layer takes is array/layer_calendar.h.
//
// A column is a chain of clean runs, done by an exact int8 matrix product, broken only where a PE with an
// effective fault stands; there the PE's own datapath (pe/datapath.h) is evaluated. Int32 accumulation is
// modular, so bypassed PEs are zero weights and any order of summation gives the array's bits.
#pragma once

#include <cstdint>
#include <memory>

#include "array/layer_shape.h"
#include "array/timed_job.h"
#include "configs/chip.h"
#include "faults/array_faults.h"

namespace kintsugi::common {
class ThreadPool;
}

namespace kintsugi::array {

class FunctionalEngine {
 public:
  // `pool` may be null (one thread); results do not depend on it.
  FunctionalEngine(const configs::ArrayConfig& array, configs::ConvolutionMapping mapping,
                   common::ThreadPool* pool = nullptr);
  ~FunctionalEngine();

  // Size must be the array's. Replaces what was loaded before; the engine starts fault-free.
  void load_faults(const faults::ArrayFaults& faults);

  // Computes the job's accumulators.
  void run(const LayerJob& job);
  // The same with the errors of the job's timing but those of its outputs, which are the caller's to flip.
  void run(TimedJob& timed);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace kintsugi::array

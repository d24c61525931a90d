// A clock, and the two clocked arrays on it, for tests. SystemC elaborates once per process: build one bench
// in a child process (tests/support/in_child.h) and run everything on it. Warnings of SystemC are failures.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <stdexcept>
#include <systemc>
#include <utility>
#include <vector>

#include "array/cycle_array_sc.h"
#include "array/pe_array_sc.h"

namespace kintsugi::test {

class ClockedBench : public sc_core::sc_module {
 public:
  SC_HAS_PROCESS(ClockedBench);
  ClockedBench(sc_core::sc_module_name name, const configs::ArrayConfig& array,
               configs::ConvolutionMapping mapping, bool with_cycle, bool with_pe)
      : sc_core::sc_module(name), config_(array), mapping_(mapping) {
    sc_core::sc_report_handler::set_actions(sc_core::SC_WARNING, sc_core::SC_THROW);
    if (with_cycle) arrays_.push_back(std::make_unique<array::CycleArray>("cycle", array));
    if (with_pe) arrays_.push_back(std::make_unique<array::PeArray>("pe", array));
    for (auto& each : arrays_) each->clock(clock_line_);
    SC_THREAD(run_script);
  }

  // Runs `script` as a process of the simulation, to its end.
  void run(std::function<void()> script) {
    script_ = std::move(script);
    sc_core::sc_start();
    if (!finished_) throw std::logic_error("the script did not end");
  }

  // For scripts.
  std::size_t arrays() const { return arrays_.size(); }
  array::ClockedArray& array(std::size_t i) { return *arrays_[i]; }
  // With ideal memory.
  void start(std::size_t i, const array::LayerJob& job) {
    arrays_[i]->start(job, array::make_tiling(job.shape, config_.rows, config_.cols, mapping_), nullptr,
                      sc_core::sc_time(2, sc_core::SC_NS));
  }
  // One clock cycle.
  void tick() {
    sc_core::wait(1, sc_core::SC_NS);
    clock_line_.write(true);
    sc_core::wait(1, sc_core::SC_NS);
    clock_line_.write(false);
  }
  // Starts the same job on every array, each with accumulators of its own, and clocks them until all are done
  // or `limit` edges have passed. Returns each array's number of edges, limit + 1 for one that is not done.
  // The clock goes on for those that are done: it must not matter to them.
  std::vector<std::int64_t> run_job(array::LayerJob job, std::vector<std::vector<std::int32_t>>& accumulators,
                                    std::int64_t limit) {
    accumulators.assign(arrays(), std::vector<std::int32_t>(job.shape.outputs(), 0x5a5a5a5a));
    for (std::size_t i = 0; i < arrays(); ++i) {
      job.accumulators = accumulators[i].data();
      start(i, job);
    }
    std::vector<std::int64_t> edges(arrays(), limit + 1);
    std::size_t left = arrays();
    for (std::int64_t edge = 0; left > 0 && edge <= limit; ++edge) {
      for (std::size_t i = 0; i < arrays(); ++i)
        if (edges[i] > limit && arrays_[i]->done()) {
          edges[i] = edge;
          --left;
        }
      if (left > 0) tick();
    }
    return edges;
  }

 private:
  void run_script() {
    script_();
    finished_ = true;
  }

  configs::ArrayConfig config_;
  configs::ConvolutionMapping mapping_;
  std::vector<std::unique_ptr<array::ClockedArray>> arrays_;
  sc_core::sc_signal<bool> clock_line_{"clock_line"};
  std::function<void()> script_;
  bool finished_ = false;
};

}  // namespace kintsugi::test

// The systolic array as a TLM-2.0 target: control registers, an interrupt, and a port of its own to memory.
//
// Registers and windows are described in array/register_map.h. Writing START returns at once; the array's own
// thread fetches the operands, runs the layer at the fidelity the target was built with, writes the results
// and raises the interrupt, which stays up until acknowledged. At every fidelity the interrupt rises exactly
// cycles × period after START. Accesses that the register map does not allow get TLM error responses, as do
// byte enables and streaming.
#pragma once

#include <tlm.h>
#include <tlm_utils/simple_target_socket.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <systemc>
#include <vector>

#include "array/clocked_array.h"
#include "array/functional_engine.h"
#include "array/gated_clock_sc.h"
#include "array/register_file.h"
#include "array/requantize.h"
#include "configs/chip.h"
#include "configs/fidelity.h"
#include "memory/bus_master.h"

namespace kintsugi::array {

class ArrayTarget : public sc_core::sc_module {
 public:
  tlm_utils::simple_target_socket<ArrayTarget, 64> registers{"registers"};
  memory::BusMaster dma{"dma"};
  sc_core::sc_out<bool> interrupt{"interrupt"};

  SC_HAS_PROCESS(ArrayTarget);
  // `pool` (functional only) may be null and must outlive the simulation. The simulation's time resolution
  // must be 1 fs.
  ArrayTarget(sc_core::sc_module_name name, const configs::ChipConfig& chip, configs::Fidelity fidelity,
              common::ThreadPool* pool = nullptr);
  ~ArrayTarget() override;

  // Told of every job of a clocked array: at its start with cycle 0, and after each of its cycles with their
  // number so far, in between clock edges.
  using CycleObserver = std::function<void(const ClockedArray& array, std::int64_t cycle)>;
  // Before faults are loaded. Throws std::logic_error at the functional fidelity, which has no registers.
  void observe(CycleObserver observer);

 private:
  struct JobResult {
    JobError error = JobError::none;
    std::int64_t cycles = 0;
  };

  void b_transport(tlm::tlm_generic_payload& transaction, sc_core::sc_time& delay);
  unsigned int transport_dbg(tlm::tlm_generic_payload& transaction);
  void obey(std::uint32_t command);
  void load_faults();

  void run_jobs();
  JobResult run_job();
  // The bytes of an operand: in place if they can be had directly and cannot change under a running array.
  const std::byte* fetch(std::uint64_t address, std::uint64_t length, std::vector<std::byte>& copy);
  // Runs the array and lets its cycles pass; returns their number.
  std::int64_t run_array(const LayerJob& job);
  void drive_interrupt();

  RegisterFile file_;
  std::uint64_t cycle_;  // femtoseconds
  // Either the functional engine, or a clocked array with its clock.
  std::unique_ptr<FunctionalEngine> engine_;
  std::unique_ptr<ClockedArray> clocked_;
  std::unique_ptr<GatedClock> clock_;
  CycleObserver observer_;
  sc_core::sc_signal<bool> clock_line_{"clock_line"};

  sc_core::sc_event start_{"start"};
  sc_core::sc_event interrupt_changed_{"interrupt_changed"};
  bool interrupt_level_ = false;
};

}  // namespace kintsugi::array

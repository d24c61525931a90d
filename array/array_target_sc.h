// The systolic array as a TLM-2.0 target: control registers, an interrupt, and a port of its own to memory.
//
// Registers and windows are described in array/register_map.h. Writing START returns at once; the array's own
// thread runs the layer at the fidelity the target was built with and raises the interrupt, which stays up
// until acknowledged. At every fidelity the interrupt rises exactly cycles × period after the first whole
// cycle not before START.
//
// Values and time go different ways. Operands are taken as they are at START, in bulk; with a memory system
// the same bytes also travel as transactions, from DRAM by the DMA engine into unified buffer and weight
// FIFO, which is what takes time. Results travel once: block by block into the accumulators, through the
// activation unit into the unified buffer, and from there, if their home is DRAM, by the DMA engine. Accesses
// that the register map does not allow get TLM error responses, as do byte enables and streaming.
#pragma once

#include <tlm.h>
#include <tlm_utils/simple_target_socket.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <systemc>
#include <vector>

#include "array/clocked_array.h"
#include "array/closed_form_array.h"
#include "array/functional_engine.h"
#include "array/gated_clock_sc.h"
#include "array/register_file.h"
#include "array/requantize.h"
#include "array/supply_unit_sc.h"
#include "configs/chip.h"
#include "configs/fidelity.h"
#include "memory/bus_master.h"
#include "memory/memory_target.h"

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

  // What happened when in every launch from now on, if the chip has a memory system.
  void observe_timeline(TimelineSink sink);
  // Timing errors from the next job on; null: none. Not a register: clock and voltage are the chip's
  // surroundings. Throws as check_timing() does.
  void load_timing(std::shared_ptr<const faults::ChipTiming> timing);
  // What they did in the last job, and since they were loaded.
  const TimingCounts& timing_counts() const { return timing_counts_; }
  const std::vector<std::int64_t>& late_words_by_pe() const { return late_words_; }
  // Whose counters tell what the DRAM saw of a job's traffic; without, that is not reported.
  void count_traffic_of(const memory::MemoryTarget& dram) { dram_ = &dram; }
  // The DMA engine's sockets are to be bound if the chip has a memory system; null otherwise.
  memory::DmaEngine* dma_engine() { return supply_ ? &supply_->dma : nullptr; }

 private:
  // What a layer works on: operands as they were at START, results as the array leaves them.
  struct LayerWork;

  void b_transport(tlm::tlm_generic_payload& transaction, sc_core::sc_time& delay);
  unsigned int transport_dbg(tlm::tlm_generic_payload& transaction);
  void obey(std::uint32_t command);
  void load_faults();

  void run_jobs();
  // Both run a job to its end; what they throw is a JobError.
  LaunchReport run_layer();
  LaunchReport run_pass();
  std::vector<Requantization> fetch_table(const LayerLaunch& launch);
  // The bytes of an operand: in place if they can be had directly and cannot change under a running array.
  const std::byte* fetch(std::uint64_t address, std::uint64_t length, std::vector<std::byte>& copy,
                         JobError error);
  // Reads operands; false if that is not possible.
  bool look(std::uint64_t address, std::span<std::byte> data);
  // Let the array do the work, and time pass.
  CycleBreakdown run_ideal(LayerWork& work);
  CycleBreakdown run_supplied(LayerWork& work);
  void compute(LayerWork& work);  // functional
  void clock_array(LayerWork& work, TileGate* gate);
  // Takes a block of results from the accumulators through the activation unit to where it belongs.
  void deliver(LayerWork& work, std::int64_t block);
  void write(std::uint64_t address, std::span<const std::byte> data);
  void drive_interrupt();

  configs::ChipConfig chip_;
  RegisterFile file_;
  std::uint64_t cycle_;  // femtoseconds
  // Either the functional engine, or a clocked array with its clock.
  std::unique_ptr<FunctionalEngine> engine_;
  std::unique_ptr<ClockedArray> clocked_;
  std::unique_ptr<GatedClock> clock_;
  // With a memory system: its rules, for the functional engine the array in closed form, and the plans of the
  // last layer, which the rules hold on to.
  std::unique_ptr<SupplyUnit> supply_;
  ClosedFormArray closed_form_;
  std::unique_ptr<LayerPlan> plan_, next_plan_;
  const memory::MemoryTarget* dram_ = nullptr;
  CycleObserver observer_;
  std::shared_ptr<const faults::ChipTiming> timing_;  // null: no errors
  TimingCounts timing_counts_;
  std::vector<std::int64_t> late_words_;
  sc_core::sc_signal<bool> clock_line_{"clock_line"};

  sc_core::sc_event start_{"start"};
  bool starts_pass_ = false;
  sc_core::sc_event interrupt_changed_{"interrupt_changed"};
  bool interrupt_level_ = false;
};

}  // namespace kintsugi::array

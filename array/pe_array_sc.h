// The pe fidelity: a grid of PE modules (pe/pe.h) wired to their neighbours, with feeders, collectors and a
// sequencer around it (array/pe_edges_sc.h). Slow and literal; the witness for the other fidelities.
#pragma once

#include <cstdint>
#include <memory>
#include <systemc>
#include <vector>

#include "array/clocked_array.h"
#include "array/pe_edges_sc.h"
#include "array/pe_errors_sc.h"
#include "configs/chip.h"
#include "pe/pe.h"

namespace kintsugi::array {

class PeArray final : public ClockedArray {
 public:
  // Starts fault-free.
  PeArray(sc_core::sc_module_name name, const configs::ArrayConfig& array);
  ~PeArray() override;

  // Throws std::invalid_argument if the size is not the array's, std::logic_error while a job runs.
  void load_faults(const faults::ArrayFaults& faults) override;
  // The clock must not rise at the simulated time of the call. Throws std::logic_error while a job runs.
  void start(const LayerJob& job, const Tiling& tiling, TileGate* gate, const sc_core::sc_time& cycle,
             TimedJob* timed = nullptr) override;
  bool done() const override { return sequencer_.done(); }
  const CycleBreakdown& breakdown() const override { return sequencer_.breakdown(); }
  PeRegisters registers(int row, int col) const override;

  // Adds the sequencer's tokens and every PE's registers to a waveform.
  void trace(sc_core::sc_trace_file* file) const override;

 private:
  template <class T>
  using Signals = std::vector<std::unique_ptr<sc_core::sc_signal<T>>>;

  void wire_edges();
  void wire_pes();
  void begin_pes(TimedJob* timed);
  std::size_t place(int r, int c) const { return static_cast<std::size_t>(r) * cols_ + c; }

  int rows_, cols_, accumulator_bits_;
  faults::ArrayFaults faults_;
  TileFeed feed_;
  std::unique_ptr<PeErrors> errors_;  // of the job; null: none

  // Wires between neighbours: [r·(cols+1) + c] left of PE (r, c); [r·cols + c] above it.
  Signals<pe::ActivationToken> activations_;
  Signals<pe::PsumToken> psums_;
  Signals<pe::WeightToken> weights_;
  Signals<FeedToken> feed_tokens_;
  Signals<LoadToken> load_tokens_;
  Signals<std::int64_t> streams_out_;

  Sequencer sequencer_;
  std::vector<std::unique_ptr<RowFeeder>> row_feeders_;
  std::vector<std::unique_ptr<ColumnFeeder>> column_feeders_;
  std::vector<std::unique_ptr<Collector>> collectors_;
  std::vector<std::unique_ptr<pe::Pe>> pes_;  // row-major
};

}  // namespace kintsugi::array

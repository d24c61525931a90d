// The cycle fidelity: the whole array as one machine over flat arrays, stepped cycle by cycle. No SystemC
// (array/cycle_array_sc.h puts it on a clock), and no formula for time: how long a job takes is how often
// step() was called until done() held.
//
// What is stored is what the registers hold, arranged so that moving them is cheap:
// - Activation registers of a row are a window over one buffer. A cycle moves the window's start by one
//   instead of every value by one; a value stays where it is while the columns pass over it. What a row's
//   address generator will deliver next stands ready below the window.
// - Weights and psums are kept in strips of columns (array/cycle_kernel.h), and only those rows of a strip
// are
//   stepped that may hold live activations.
// - A load's weights are on their way for as long as the edge and the pipe take; then all rows of a column
// latch.
//
// The sequencer and the results are stepped cycle by cycle. The PEs may be ahead of them: where the tokens
// that will enter the array's edges in the next cycles are certain (a stream or a load runs without a gap
// once it has begun, whatever the memory system does), the kernel takes all PEs through several cycles in
// one pass, and the results are kept until their cycle comes. Nothing outside can tell. Faults are masks
// (array/cycle_faults.h). With timing errors (array/cycle_timing.h) every PE is stepped in every cycle, idle
// ones included, one cycle at a time.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "array/aligned.h"
#include "array/cycle_faults.h"
#include "array/cycle_kernel.h"
#include "array/cycle_timing.h"
#include "array/layer_cost.h"
#include "array/layer_shape.h"
#include "array/pe_registers.h"
#include "array/tile_feed.h"
#include "array/tile_gate.h"
#include "array/timed_job.h"
#include "configs/chip.h"
#include "faults/array_faults.h"

namespace kintsugi::array {

class CycleMachine {
 public:
  // Starts fault-free.
  explicit CycleMachine(const configs::ArrayConfig& array, const CycleKernel& kernel = choose_cycle_kernel());

  // Throws std::invalid_argument if the size is not the array's, std::logic_error while a job runs.
  void load_faults(const faults::ArrayFaults& faults);
  // Clears the job's accumulators and gets ready; the operands and `gate` (null: ideal memory) must stay
  // valid until done(). Throws std::logic_error while a job runs.
  // `timed`: as of ClockedArray.
  void start(const LayerJob& job, const Tiling& tiling, TileGate* gate, TimedJob* timed = nullptr);
  // One clock cycle. Does nothing when done.
  void step();
  // True once the last result of the last tile stands in the accumulators, and when there is no job.
  bool done() const { return columns_out_ == columns_due_; }
  // Steps since start(), and what the sequencer did in them.
  std::int64_t cycles() const { return cycle_; }
  const CycleBreakdown& breakdown() const { return counts_; }

  // From the next load_faults() on, registers() can be asked: weights are kept as written, and no PE is
  // ahead.
  void make_observable() { observable_ = true; }
  // Of PE (r, c) after the last step.
  PeRegisters registers(int r, int c) const;

 private:
  // Of a token in entered_.
  static constexpr std::uint8_t kValid = 1, kFirst = 2;

  // A stream on its way through the array, by the cycles in which its tokens entered the left edge.
  struct Stream {
    std::int64_t tile = 0;
    std::int64_t first = 0, last = 0;
  };
  // A load on its way: one row of weights entered the top edge in each cycle from `begin` on, row R−1 first.
  struct Load {
    TileWork tile;
    std::int64_t begin = 0;
  };
  struct ColumnState {
    std::int32_t* next = nullptr;  // null: a spare column
    std::int64_t remaining = 0;
    std::int64_t tile = -1;
  };

  // The sequencer.
  void sequence();
  void count(TileGate::Wait wait);
  void advance_sequencer();
  std::int64_t certain_cycles() const;

  // The PEs, and what enters them.
  void step_pes();
  void move_windows(int cycles);
  void enter_streams(int cycles);
  void fill(int r, std::int64_t window);
  void latch_weights(int first_row, int last_row, int cycles);
  void step_strip(int strip, int cycles);
  // One cycle with timing errors.
  void enter_clocked();
  void step_erring_pes();
  bool idle() const;
  pe::PeInputs inputs_of(int r, int c) const;

  // Below the last row.
  void collect();
  void collect_run(const std::int32_t* results);
  void collect_column(int c, std::uint8_t flags, std::int32_t result);

  int strip_columns() const { return kernel_.width; }
  // Of a weight, and of a psum.
  std::size_t place(int r, int c) const {
    return (static_cast<std::size_t>(c / kernel_.width) * rows_ + r) * kernel_.width + c % kernel_.width;
  }
  std::size_t psum_place(int c) const { return psum_places_[c]; }
  std::size_t psum_index(int r, int c) const {
    return (static_cast<std::size_t>(c / kernel_.width) * rows_ + r) * kernel_.width +
           kernel_.psum_place(c % kernel_.width);
  }

  int rows_, cols_, accumulator_bits_;
  bool double_buffer_;
  bool observable_ = false;
  CycleKernel kernel_;
  int strips_;
  TileFeed feed_;

  // The PEs.
  AlignedVector<std::int32_t> psums_;
  AlignedVector<std::int8_t> active_, shadow_;
  std::vector<std::int8_t> written_active_, written_shadow_;  // if observable: as written, without faults
  CycleFaults faults_;
  faults::ArrayFaults loaded_;
  AlignedVector<std::int8_t> windows_;
  std::size_t window_stride_ = 0;
  std::int64_t window_length_ = 0, window_ = 0;
  AlignedVector<std::int32_t> results_;     // of the last row, for the cycles that the PEs are ahead
  std::vector<std::uint32_t> psum_places_;  // of a column in a row of results
  int ahead_ = 0, ahead_length_ = 0;

  // The edges.
  std::vector<ActivationWalker> walkers_;
  std::vector<std::int64_t> unfilled_;  // by row: positions of its stream that are not in its buffer yet
  std::deque<Stream> streams_;
  std::deque<Load> loads_;
  std::vector<std::int64_t> switches_;  // scratch of step_strip
  std::vector<std::uint8_t> kinds_;
  // What entered, by cycle of entry, modulo the longest way to a PE: a delay line of valid and first bits.
  std::vector<std::uint8_t> entered_;

  // Timing errors of the job; null: none.
  std::unique_ptr<CycleTiming> timing_;
  std::int64_t since_fed_ = 0;         // cycles
  std::int64_t clocked_position_ = 0;  // of the token that entered last

  // Below the last row: its tokens, moved like activations.
  std::vector<std::uint8_t> bottom_flags_;
  std::size_t flag_window_ = 0;
  int bottom_valid_ = 0;         // how many of them are valid
  std::int64_t bottom_run_ = 0;  // how many valid ones entered last, without a gap, since one was first
  std::vector<ColumnState> columns_;
  std::int64_t run_collected_ = 0;  // results that collect_run took and `columns_` does not know of
  int run_columns_ = 0;

  // The sequencer.
  bool loading_ = false, weights_ready_ = false, feeding_ = false;
  int load_row_ = 0;
  std::int64_t feed_position_ = 0, feed_length_ = 0;
  std::int64_t loads_begun_ = 0, streams_begun_ = 0;
  TileGate* gate_ = nullptr;
  CycleBreakdown counts_;
  std::int64_t columns_out_ = 0, columns_due_ = 0;
  // Of streams on their way: how many columns have delivered.
  std::deque<int> delivered_;
  std::int64_t streams_out_ = 0;
  std::int64_t cycle_ = 0;
};

}  // namespace kintsugi::array

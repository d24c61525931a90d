// The cycle fidelity: the whole array as one machine over flat arrays, stepped cycle by cycle. No SystemC
// (array/cycle_array_sc.h puts it on a clock), and no formula for time: how long a job takes is how often
// step() was called until done() held.
//
// What is stored is what the registers hold, arranged so that moving them is cheap:
// - Activation registers of a row are a window over one buffer. A cycle moves the window's start by one
//   instead of every value by one; a value stays where it is while the columns pass over it.
// - A value in the weight pipe falls one row per cycle until the row it is addressed to latches it. It is
//   kept in the list of values that reach their row in the same cycle.
// - Rows are updated bottom to top, in place, and only over the columns that hold live activations.
// The PE arithmetic is pe/datapath.h: clean_psum over a row, evaluate at the PEs with hooks or bypass. A
// bypassed PE whose two outgoing registers are sound hands psum and activation on unchanged, which is
// clean_psum with weight zero, so such a PE is given that weight and costs nothing.
#pragma once

#include <cstdint>
#include <deque>
#include <vector>

#include "array/layer_cost.h"
#include "array/layer_shape.h"
#include "array/pe_registers.h"
#include "array/tile_feed.h"
#include "array/tile_gate.h"
#include "configs/chip.h"
#include "faults/array_faults.h"
#include "pe/datapath.h"

namespace kintsugi::array {

class CycleMachine {
 public:
  // Starts fault-free.
  explicit CycleMachine(const configs::ArrayConfig& array);

  // Throws std::invalid_argument if the size is not the array's, std::logic_error while a job runs.
  void load_faults(const faults::ArrayFaults& faults);
  // Clears the job's accumulators and gets ready; the operands and `gate` (null: ideal memory) must stay
  // valid until done(). Throws std::logic_error while a job runs.
  void start(const LayerJob& job, const Tiling& tiling, TileGate* gate);
  // One clock cycle. Does nothing when done.
  void step();
  // True once the last result of the last tile stands in the accumulators, and when there is no job.
  bool done() const { return columns_out_ == columns_due_; }
  // Steps since start(), and what the sequencer did in them.
  std::int64_t cycles() const { return cycle_; }
  const CycleBreakdown& breakdown() const { return counts_; }

  // From the next load_faults() on, bypassed PEs keep their weights for registers() to show.
  void make_observable() { observable_ = true; }
  // Of PE (r, c) after the last step.
  PeRegisters registers(int r, int c) const;

 private:
  // Travels down the left edge with a stream; each row turns it into an activation.
  struct FeedToken {
    std::int64_t tile = 0;
    bool valid = false;
    bool first = false;
  };
  // Travels along the top edge with one row of weights; each column turns it into a value in its pipe.
  struct LoadToken {
    const std::int8_t* weights = nullptr;  // null: a spare row, zeros
    std::int64_t count = 0;                // columns in use
    int row = 0;
    bool valid = false;
  };
  struct Latch {
    std::uint32_t place = 0;
    std::int8_t value = 0;
  };
  struct SpecialPe {
    int col = 0;
    bool bypass = false;
    pe::PeHooks hooks;
  };
  // A row's live columns [low, high), and the columns of its `first` tokens as cycles of entry.
  struct RowState {
    int low = 0, high = 0;
    int head = 0, count = 0;
  };
  struct ColumnState {
    std::int32_t* next = nullptr;  // null: a spare column
    std::int64_t remaining = 0;
    std::int64_t tile = -1;
  };

  void shift_windows();
  void enter_tokens();
  void step_row(int r);
  void switch_weights(int r);
  void evaluate_specials(int r);
  void move_weight_pipe();
  void collect();
  void sequence();
  void count(TileGate::Wait wait);
  void advance_sequencer();

  std::size_t place(int r, int c) const { return static_cast<std::size_t>(r) * cols_ + c; }

  int rows_, cols_, accumulator_bits_;
  bool double_buffer_;
  bool observable_ = false;
  TileFeed feed_;

  // The PEs.
  std::vector<std::int32_t> psum_;
  std::vector<std::int8_t> active_, shadow_;
  std::vector<std::int8_t> weight_mask_;  // 0 where a bypass makes the weight zero, else −1
  std::vector<SpecialPe> specials_;
  std::vector<std::size_t> specials_of_row_;  // rows + 1 offsets
  std::vector<std::int8_t> windows_;
  std::vector<std::uint8_t> bottom_flags_;  // the last row's tokens, moved like its activations
  std::size_t window_length_ = 0, window_ = 0;

  // The edges.
  std::vector<FeedToken> left_edge_;  // by cycle of entry, modulo rows; the top edge's modulo columns
  int left_slot_ = 0;
  // Whether a token entered, by cycle of entry, modulo the longest way to a PE: a delay line of valid bits.
  std::vector<std::uint8_t> entered_;
  std::vector<LoadToken> top_edge_;
  std::vector<ActivationWalker> walkers_;
  std::vector<RowState> row_states_;
  std::vector<std::int64_t> first_entries_;
  int first_capacity_ = 0;
  std::vector<std::vector<Latch>> falling_;  // by cycle of arrival, modulo rows
  int loads_on_edge_ = 0;
  std::vector<ColumnState> columns_;

  // The sequencer.
  bool loading_ = false, weights_ready_ = false, feeding_ = false;
  int load_row_ = 0;
  std::int64_t feed_position_ = 0, feed_length_ = 0;
  std::int64_t loads_begun_ = 0, streams_begun_ = 0;
  TileWork load_tile_;
  TileGate* gate_ = nullptr;
  CycleBreakdown counts_;
  std::int64_t columns_out_ = 0, columns_due_ = 0;
  // Of streams on their way: how many columns have delivered.
  std::deque<int> delivered_;
  std::int64_t streams_out_ = 0;
  std::int64_t cycle_ = 0;
};

}  // namespace kintsugi::array

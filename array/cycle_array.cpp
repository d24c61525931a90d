#include "array/cycle_array.h"

#include <algorithm>
#include <stdexcept>
#include <type_traits>

namespace kintsugi::array {

namespace {

constexpr std::uint8_t kValid = 1;
constexpr std::uint8_t kFirst = 2;

// New psum registers of one row's columns from those above, the row's weights and its incoming activations.
// `bits` is a constant in the common instance, so that wrapping costs nothing there.
template <class Bits>
void clean_columns(std::int32_t* __restrict psum, const std::int32_t* __restrict above,
                   const std::int8_t* __restrict weights, const std::int8_t* __restrict activations,
                   int count, Bits bits) {
  for (int c = 0; c < count; ++c) psum[c] = pe::clean_psum(weights[c], activations[c], above[c], bits);
}

}  // namespace

CycleMachine::CycleMachine(const configs::ArrayConfig& array)
    : rows_(array.rows),
      cols_(array.cols),
      accumulator_bits_(array.accumulator_bits),
      double_buffer_(array.weight_double_buffer) {
  const std::size_t pes = static_cast<std::size_t>(rows_) * cols_;
  // A row of zeros stands above row 0: partial sums enter as zero.
  psum_.assign(pes + cols_, 0);
  active_.assign(pes, 0);
  shadow_.assign(pes, 0);
  // Room for as many moves as columns before the windows are copied back, and a few where columns are few.
  window_length_ = static_cast<std::size_t>(cols_) + std::max(cols_, 64);
  windows_.assign(window_length_ * rows_, 0);
  bottom_flags_.assign(window_length_, 0);
  left_edge_.resize(rows_);
  entered_.assign(static_cast<std::size_t>(rows_) + cols_, 0);
  top_edge_.resize(cols_);
  walkers_.resize(rows_);
  row_states_.resize(rows_);
  // Streams are at least a load apart, so a row holds no more than this many `first` tokens.
  first_capacity_ = cols_ / rows_ + 2;
  first_entries_.assign(static_cast<std::size_t>(rows_) * first_capacity_, 0);
  falling_.resize(rows_);
  columns_.resize(cols_);
  load_faults(faults::fault_free(rows_, cols_));
}

void CycleMachine::load_faults(const faults::ArrayFaults& faults) {
  if (faults.rows != rows_ || faults.cols != cols_)
    throw std::invalid_argument("CycleMachine: the faults are for an array of another size");
  if (!done()) throw std::logic_error("CycleMachine: faults loaded while a job runs");
  weight_mask_.assign(static_cast<std::size_t>(rows_) * cols_, -1);
  specials_.clear();
  specials_of_row_.assign(1, 0);
  auto faulty = faults.faulty.begin();
  for (int r = 0; r < rows_; ++r) {
    for (int c = 0; c < cols_; ++c) {
      const bool bypass = faults.bypassed(r, c);
      const bool hooked = faulty != faults.faulty.end() && faulty->row == r && faulty->col == c;
      const pe::PeHooks hooks = hooked ? (faulty++)->hooks : pe::PeHooks{};
      if (!bypass && !hooked) continue;
      if (bypass && !observable_ && hooks[pe::Site::psum_register].identity() &&
          hooks[pe::Site::activation_register].identity())
        weight_mask_[place(r, c)] = 0;
      else
        specials_.push_back({c, bypass, hooks});
    }
    specials_of_row_.push_back(specials_.size());
  }
}

void CycleMachine::start(const LayerJob& job, const Tiling& tiling, TileGate* gate) {
  if (!done()) throw std::logic_error("CycleMachine: a job was started while another runs");
  feed_ = TileFeed(job, tiling);
  gate_ = gate;
  std::fill_n(job.accumulators, job.shape.outputs(), 0);
  cycle_ = 0;
  window_ = window_length_ - cols_;
  std::fill(left_edge_.begin(), left_edge_.end(), FeedToken{});
  std::fill(top_edge_.begin(), top_edge_.end(), LoadToken{});
  std::fill(row_states_.begin(), row_states_.end(), RowState{});
  std::fill(columns_.begin(), columns_.end(), ColumnState{});
  for (std::vector<Latch>& arrivals : falling_) arrivals.clear();
  loads_on_edge_ = 0;
  loading_ = weights_ready_ = feeding_ = false;
  loads_begun_ = streams_begun_ = 0;
  columns_out_ = 0;
  columns_due_ = feed_.tiles() * cols_;
  delivered_.clear();
  streams_out_ = 0;
  counts_ = {};
}

void CycleMachine::step() {
  if (done()) return;
  sequence();
  shift_windows();
  enter_tokens();
  for (int r = rows_ - 1; r >= 0; --r) step_row(r);
  // After the rows: a PE that switches in the cycle in which its shadow register latches takes the old value.
  move_weight_pipe();
  collect();
  advance_sequencer();
  ++cycle_;
}

// What the sequencer's outputs are in this cycle, from its registers and the results that have come out.
void CycleMachine::sequence() {
  TileGate::Wait wait = TileGate::Wait::none;
  if (!feeding_ && weights_ready_) {
    if (gate_ != nullptr) wait = gate_->may_stream(streams_begun_);
    if (wait == TileGate::Wait::none) {
      feeding_ = true;
      weights_ready_ = false;
      feed_position_ = 0;
      feed_length_ = feed_.tile(streams_begun_).m.count;
      if (gate_ != nullptr) gate_->stream_begun(streams_begun_);
      ++streams_begun_;
    }
  }
  // No load under way and none waiting for its stream to begin: the shadow registers are free. Without them,
  // the registers in use are free once the last result of that stream is out, in all columns.
  if (!loading_ && !weights_ready_ && loads_begun_ < feed_.tiles() &&
      (double_buffer_ || columns_out_ == loads_begun_ * cols_) &&
      (gate_ == nullptr || gate_->may_load(loads_begun_))) {
    loading_ = true;
    load_row_ = 0;
    load_tile_ = feed_.tile(loads_begun_);
    if (gate_ != nullptr) gate_->load_begun(loads_begun_);
    ++loads_begun_;
  }
  count(wait);
}

// This cycle, for the counters of what the sequencer does.
void CycleMachine::count(TileGate::Wait wait) {
  if (feeding_)
    ++counts_.active;
  else if (loading_)
    ++counts_.weight_shift;
  else if (wait == TileGate::Wait::activations)
    ++counts_.stall_activations;
  else if (wait == TileGate::Wait::accumulators)
    ++counts_.stall_accumulators;
  else if (loads_begun_ < feed_.tiles() && (double_buffer_ || columns_out_ == loads_begun_ * cols_))
    ++counts_.stall_weights;
  else
    ++counts_.pipeline;
}

// The end of the cycle: the sequencer's registers move on, and the memory system hears what is over.
void CycleMachine::advance_sequencer() {
  if (loading_ && ++load_row_ == rows_) {
    loading_ = false;
    weights_ready_ = true;
    if (gate_ != nullptr) gate_->load_ended(loads_begun_ - 1);
  }
  if (feeding_ && ++feed_position_ == feed_length_) {
    feeding_ = false;
    if (gate_ != nullptr) gate_->stream_fed(streams_begun_ - 1);
  }
  while (!delivered_.empty() && delivered_.front() == cols_) {
    delivered_.pop_front();
    if (gate_ != nullptr) gate_->stream_out(streams_out_);
    ++streams_out_;
  }
}

void CycleMachine::shift_windows() {
  if (window_ == 0) {
    const std::size_t end = window_length_ - cols_;
    for (int r = 0; r < rows_; ++r) {
      std::int8_t* row = windows_.data() + r * window_length_;
      std::copy_backward(row, row + cols_, row + window_length_);
    }
    std::copy_backward(bottom_flags_.begin(), bottom_flags_.begin() + cols_, bottom_flags_.end());
    window_ = end;
  }
  --window_;
}

// The tokens that the sequencer drives in this cycle take their places at the head of the two edges.
void CycleMachine::enter_tokens() {
  left_slot_ = static_cast<int>(cycle_ % rows_);
  FeedToken& feed = left_edge_[left_slot_];
  feed = {};
  if (feeding_) feed = {streams_begun_ - 1, true, feed_position_ == 0};
  entered_[cycle_ % std::ssize(entered_)] = feeding_ ? 1 : 0;

  LoadToken& load = top_edge_[cycle_ % cols_];
  if (load.valid) --loads_on_edge_;
  load = {};
  if (loading_) {
    const int row = rows_ - 1 - load_row_;
    load = {feed_.weight_row(load_tile_, row), load_tile_.n.count, row, true};
    ++loads_on_edge_;
  }
}

void CycleMachine::step_row(int r) {
  // What entered the edge r cycles ago is at row r.
  const int slot_now = left_slot_ - r;
  const FeedToken& token = left_edge_[slot_now < 0 ? slot_now + rows_ : slot_now];
  RowState& state = row_states_[r];
  if (state.low == state.high && !token.valid) return;
  std::int8_t* activations = windows_.data() + r * window_length_ + window_;
  if (token.valid) {
    if (token.first) {
      walkers_[r].begin(feed_, feed_.tile(token.tile), r);
      if (double_buffer_) {
        if (state.count == first_capacity_)
          throw std::logic_error("CycleMachine: streams follow too closely");
        const int slot = (state.head + state.count++) % first_capacity_;
        first_entries_[static_cast<std::size_t>(r) * first_capacity_ + slot] = cycle_;
      }
    }
    activations[0] = walkers_[r].next();
  } else {
    activations[0] = 0;
  }
  if (r == rows_ - 1)
    bottom_flags_[window_] =
        static_cast<std::uint8_t>((token.valid ? kValid : 0) | (token.first ? kFirst : 0));
  state.low = token.valid ? 0 : state.low + 1;
  state.high = std::min(state.high + 1, cols_);
  if (state.low >= state.high) {
    state.low = state.high = 0;
    return;
  }

  switch_weights(r);
  std::int32_t* psum = psum_.data() + cols_ + place(r, state.low);
  const std::int8_t* weights = active_.data() + place(r, state.low);
  const int count = state.high - state.low;
  if (accumulator_bits_ == 32)
    clean_columns(psum, psum - cols_, weights, activations + state.low, count,
                  std::integral_constant<int, 32>{});
  else
    clean_columns(psum, psum - cols_, weights, activations + state.low, count, accumulator_bits_);
  evaluate_specials(r);
}

// A PE that receives the first activation of a stream takes its next weight into use.
void CycleMachine::switch_weights(int r) {
  RowState& state = row_states_[r];
  const std::int64_t* entries = first_entries_.data() + static_cast<std::size_t>(r) * first_capacity_;
  for (int i = 0; i < state.count; ++i) {
    const std::int64_t col = cycle_ - entries[(state.head + i) % first_capacity_];
    const std::size_t at = place(r, static_cast<int>(col));
    active_[at] = shadow_[at];
  }
  // Entries are in order of age; one that has now crossed the last column is gone.
  if (state.count > 0 && cycle_ - entries[state.head] == cols_ - 1) {
    state.head = (state.head + 1) % first_capacity_;
    --state.count;
  }
}

void CycleMachine::evaluate_specials(int r) {
  const RowState& state = row_states_[r];
  std::int8_t* activations = windows_.data() + r * window_length_ + window_;
  std::int32_t* psum = psum_.data() + cols_ + place(r, 0);
  const std::int8_t* weights = active_.data() + place(r, 0);
  for (std::size_t i = specials_of_row_[r]; i < specials_of_row_[r + 1]; ++i) {
    const SpecialPe& special = specials_[i];
    const int c = special.col;
    if (c < state.low || c >= state.high) continue;
    const pe::PeOutputs out = pe::evaluate(special.hooks, special.bypass, weights[c], activations[c],
                                           psum[c - cols_], accumulator_bits_);
    psum[c] = out.psum;
    activations[c] = static_cast<std::int8_t>(out.activation);
  }
}

PeRegisters CycleMachine::registers(int r, int c) const {
  PeRegisters found;
  found.weight = active_[place(r, c)];
  // In the last step the PE met what entered its row's edge so many moves before. Every cycle of the job has
  // left its mark since, so what an earlier job left is never read.
  const std::int64_t entry = cycle_ - 1 - r - c;
  found.valid = entry >= 0 && entered_[entry % std::ssize(entered_)] != 0;
  if (!found.valid) return found;
  found.activation = windows_[r * window_length_ + window_ + c];
  found.psum = psum_[cols_ + place(r, c)];
  return found;
}

void CycleMachine::move_weight_pipe() {
  // A value that enters column c now reaches row `row` after that many moves.
  if (loads_on_edge_ > 0) {
    std::int64_t slot = cycle_ % cols_;
    for (int c = 0; c < cols_; ++c, slot = slot == 0 ? cols_ - 1 : slot - 1) {
      const LoadToken& token = top_edge_[slot];
      if (!token.valid) continue;
      const bool used = token.weights != nullptr && c < token.count;
      const std::size_t at = place(token.row, c);
      const int value = used ? token.weights[c] & weight_mask_[at] : 0;
      falling_[(cycle_ + token.row) % rows_].push_back(
          {static_cast<std::uint32_t>(at), static_cast<std::int8_t>(value)});
    }
  }
  std::vector<Latch>& arrivals = falling_[cycle_ % rows_];
  std::vector<std::int8_t>& registers = double_buffer_ ? shadow_ : active_;
  for (const Latch& latch : arrivals) registers[latch.place] = latch.value;
  arrivals.clear();
}

// Below the last row: each column's results in the order of its valid tokens.
void CycleMachine::collect() {
  const RowState& state = row_states_[rows_ - 1];
  const std::int32_t* psum = psum_.data() + cols_ + place(rows_ - 1, 0);
  const std::uint8_t* flags = bottom_flags_.data() + window_;
  const std::int64_t stride = feed_.job().shape.out_c;
  for (int c = state.low; c < state.high; ++c) {
    if ((flags[c] & kValid) == 0) continue;
    ColumnState& column = columns_[c];
    if ((flags[c] & kFirst) != 0) {
      const TileWork tile = feed_.tile(++column.tile);
      column.next = feed_.accumulator(tile, 0, c);
      column.remaining = tile.m.count;
    }
    if (column.next != nullptr) {
      *column.next = pe::wrapping_add(*column.next, psum[c], 32);
      column.next += stride;
    }
    if (--column.remaining > 0) continue;
    ++columns_out_;
    const auto stream = static_cast<std::size_t>(column.tile - streams_out_);
    if (stream >= delivered_.size()) delivered_.resize(stream + 1, 0);
    ++delivered_[stream];
  }
}

}  // namespace kintsugi::array

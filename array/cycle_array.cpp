#include "array/cycle_array.h"

#include <algorithm>
#include <limits>
#include <stdexcept>

namespace kintsugi::array {

namespace {

constexpr std::int64_t kForever = std::numeric_limits<std::int64_t>::max();

}  // namespace

CycleMachine::CycleMachine(const configs::ArrayConfig& array, const CycleKernel& kernel)
    : rows_(array.rows),
      cols_(array.cols),
      accumulator_bits_(array.accumulator_bits),
      double_buffer_(array.weight_double_buffer),
      kernel_(kernel),
      strips_((cols_ + kernel.width - 1) / kernel.width) {
  const std::size_t columns = static_cast<std::size_t>(strips_) * kernel_.width;
  const std::size_t pes = columns * rows_;
  psums_.assign(pes, 0);
  active_.assign(pes, 0);
  shadow_.assign(pes, 0);
  // Room for as many moves as columns before the windows are copied back, and a few where columns are few. An
  // odd number of cache lines, so that neighbouring rows do not compete for the same places in the cache.
  window_length_ = cols_ + std::max(cols_, 64);
  window_stride_ = (static_cast<std::size_t>(window_length_) + columns - cols_ + 63) / 64 * 64;
  if (window_stride_ / 64 % 2 == 0) window_stride_ += 64;
  windows_.assign(window_stride_ * rows_, 0);
  results_.assign(columns * kernel_.lookahead, 0);
  for (int c = 0; c < cols_; ++c)
    psum_places_.push_back(static_cast<std::uint32_t>(c / kernel_.width * kernel_.width +
                                                      kernel_.psum_place(c % kernel_.width)));
  walkers_.resize(rows_);
  unfilled_.assign(rows_, 0);
  kinds_.resize(rows_);
  entered_.assign(static_cast<std::size_t>(rows_) + cols_, 0);
  bottom_flags_.assign(static_cast<std::size_t>(window_length_), 0);
  columns_.resize(cols_);
  load_faults(faults::fault_free(rows_, cols_));
}

void CycleMachine::load_faults(const faults::ArrayFaults& faults) {
  if (faults.rows != rows_ || faults.cols != cols_)
    throw std::invalid_argument("CycleMachine: the faults are for an array of another size");
  if (!done()) throw std::logic_error("CycleMachine: faults loaded while a job runs");
  faults_ = CycleFaults(faults, kernel_);
  loaded_ = faults;
  if (observable_) {
    written_active_.resize(active_.size(), 0);
    written_shadow_.resize(active_.size(), 0);
  }
}

void CycleMachine::start(const LayerJob& job, const Tiling& tiling, TileGate* gate, TimedJob* timed) {
  if (!done()) throw std::logic_error("CycleMachine: a job was started while another runs");
  feed_ = TileFeed(job, tiling);
  gate_ = gate;
  std::fill_n(job.accumulators, job.shape.outputs(), 0);
  cycle_ = 0;
  window_ = window_length_ - cols_;
  flag_window_ = static_cast<std::size_t>(window_);
  std::fill(bottom_flags_.begin(), bottom_flags_.end(), std::uint8_t{0});
  bottom_valid_ = 0;
  bottom_run_ = 0;
  std::fill(unfilled_.begin(), unfilled_.end(), 0);
  std::fill(columns_.begin(), columns_.end(), ColumnState{});
  run_collected_ = 0;
  run_columns_ = 0;
  streams_.clear();
  loads_.clear();
  ahead_ = ahead_length_ = 0;
  loading_ = weights_ready_ = feeding_ = false;
  loads_begun_ = streams_begun_ = 0;
  columns_out_ = 0;
  columns_due_ = feed_.tiles() * cols_;
  delivered_.clear();
  streams_out_ = 0;
  counts_ = {};
  const bool errs = timed != nullptr && (!timed->timing().at_risk.empty() || timed->flips_psums());
  timing_ = errs ? std::make_unique<CycleTiming>(*timed, feed_, loaded_, accumulator_bits_) : nullptr;
  since_fed_ = 0;
}

void CycleMachine::step() {
  if (done()) return;
  sequence();
  entered_[cycle_ % std::ssize(entered_)] = static_cast<std::uint8_t>(!feeding_             ? 0
                                                                      : feed_position_ == 0 ? kValid | kFirst
                                                                                            : kValid);
  if (timing_)
    step_erring_pes();
  else if (ahead_ == 0)
    step_pes();
  collect();
  --ahead_;
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
      streams_.push_back({streams_begun_, cycle_, cycle_ + feed_length_ - 1});
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
    loads_.push_back({feed_.tile(loads_begun_), cycle_});
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
  if (!feeding_) ++since_fed_;
  if (feeding_ && ++feed_position_ == feed_length_) {
    feeding_ = false;
    since_fed_ = 0;
    if (gate_ != nullptr) gate_->stream_fed(streams_begun_ - 1);
  }
  while (!delivered_.empty() && delivered_.front() == cols_) {
    delivered_.pop_front();
    if (gate_ != nullptr) gate_->stream_out(streams_out_);
    ++streams_out_;
  }
}

// For how many cycles, this one included, it is certain what the left edge is given, whatever the gate will
// say. Loads need no such certainty: the first row sent is the last row's, and has the longest way.
std::int64_t CycleMachine::certain_cycles() const {
  if (feeding_) return feed_length_ - feed_position_;
  if (weights_ready_) return 1;
  if (loading_) return rows_ - load_row_;
  if (loads_begun_ == feed_.tiles()) return kForever;
  return rows_;
}

void CycleMachine::step_pes() {
  const bool look_ahead =
      !observable_ && rows_ >= 2 * kernel_.lookahead && certain_cycles() >= kernel_.lookahead;
  const int cycles = look_ahead ? kernel_.lookahead : 1;
  move_windows(cycles);
  enter_streams(cycles);
  // A PE that switches in the cycle in which its shadow register latches takes the old value; one that
  // switches later takes the new one. The load that latches began when the stream before it was already under
  // way, so its column latches in the last row's cycle or later, and before row 0 meets the next stream: in
  // the cycles of one pass, the rows of the upper half can only meet the next stream, those of the lower half
  // only the one before.
  const int upper = look_ahead ? rows_ / 2 : 0;
  latch_weights(0, upper - 1, cycles);
  for (int strip = 0; strip < strips_; ++strip) step_strip(strip, cycles);
  latch_weights(upper, rows_ - 1, cycles);
  while (!loads_.empty() && cycle_ + cycles - loads_.front().begin - (rows_ - 1) >= cols_) loads_.pop_front();
  ahead_ = ahead_length_ = cycles;
}

void CycleMachine::move_windows(int cycles) {
  if (window_ < cycles) {
    const std::int64_t move = window_length_ - cols_ - window_;
    for (int r = 0; r < rows_; ++r) {
      std::int8_t* row = windows_.data() + r * window_stride_;
      std::copy_backward(row, row + window_ + cols_, row + window_length_);
      if (unfilled_[r] > 0) fill(r, move - 1);
    }
    window_ += move;
  }
  window_ -= cycles;
}

// Streams whose first token reaches a row in these cycles start its address generator.
void CycleMachine::enter_streams(int cycles) {
  while (!streams_.empty() && cycle_ - streams_.front().last - (rows_ - 1) >= cols_) streams_.pop_front();
  for (const Stream& stream : streams_) {
    const std::int64_t begin = std::max<std::int64_t>(cycle_ - stream.first, 0);
    const std::int64_t end = std::min<std::int64_t>(cycle_ + cycles - stream.first, rows_);
    if (begin >= end) continue;
    const TileWork tile = feed_.tile(stream.tile);
    for (std::int64_t r = begin; r < end; ++r) {
      walkers_[r].begin(feed_, tile, r);
      unfilled_[r] = tile.m.count;
      fill(static_cast<int>(r), window_ + cycles - 1 - (stream.first + r - cycle_));
    }
  }
}

// Puts the next values of row r's stream into its buffer, from `window` down.
void CycleMachine::fill(int r, std::int64_t window) {
  const std::int64_t count = std::min(unfilled_[r], window + 1);
  walkers_[r].fill(windows_.data() + r * window_stride_ + window, count);
  unfilled_[r] -= count;
}

// The weight for row r of column c entered the top edge R−1−r cycles after the load began, took c cycles to
// its column and takes r more to its row: all rows of a column latch in the same cycle.
void CycleMachine::latch_weights(int first_row, int last_row, int cycles) {
  AlignedVector<std::int8_t>& registers = double_buffer_ ? shadow_ : active_;
  for (const Load& load : loads_) {
    const std::int64_t first = cycle_ - load.begin - (rows_ - 1);
    const int begin = static_cast<int>(std::max<std::int64_t>(first, 0));
    const int end = static_cast<int>(std::min<std::int64_t>(first + cycles, cols_));
    if (begin >= end) continue;
    for (int r = first_row; r <= last_row; ++r) {
      const std::int8_t* weights = feed_.weight_row(load.tile, r);  // null: a spare row
      for (int c = begin; c < end; ++c) {
        const std::int8_t weight = weights != nullptr && c < load.tile.n.count ? weights[c] : std::int8_t{0};
        const std::size_t at = place(r, c);
        registers[at] = faults_.effective(at, weight);
        if (observable_) (double_buffer_ ? written_shadow_ : written_active_)[at] = weight;
      }
    }
  }
}

void CycleMachine::step_strip(int strip, int cycles) {
  if (streams_.empty() && !timing_) return;
  // A token that entered in cycle e is in column c of row r in cycle e + r + c.
  const int width = kernel_.width, left = strip * width;
  std::int64_t first_row = 0, last_row = rows_ - 1;
  if (!timing_) {
    const std::int64_t newest = std::min(cycle_ + cycles - 1, streams_.back().last);
    first_row = std::max<std::int64_t>(cycle_ - newest - (left + width - 1), 0);
    last_row = std::min<std::int64_t>(cycle_ + cycles - 1 - streams_.front().first - left, rows_ - 1);
  }
  if (first_row > last_row) return;

  StripStep step;
  step.first_row = static_cast<int>(first_row);
  step.last_row = static_cast<int>(last_row);
  step.rows = rows_;
  const std::size_t at = static_cast<std::size_t>(strip) * rows_ * width;
  step.psums = psums_.data() + at;
  step.weights = active_.data() + at;
  step.shadows = shadow_.data() + at;
  step.activations = windows_.data() + window_ + cycles - 1 + left;
  step.row_stride = static_cast<std::ptrdiff_t>(window_stride_);
  step.kinds = faults_.kinds(strip);
  step.hooks = faults_.hooks(strip);
  step.tables = faults_.tables(strip);
  step.results = results_.data() + left;
  step.result_stride = static_cast<std::ptrdiff_t>(strips_) * width;

  // PEs that receive the first activation of a stream take their next weights into use.
  if (double_buffer_) {
    switches_.clear();
    for (const Stream& stream : streams_) {
      const std::int64_t column = cycle_ - stream.first - left;  // in row 0
      const std::int64_t begin = std::max(column - (width - 1), first_row);
      const std::int64_t end = std::min(column + cycles, last_row + 1);
      if (begin >= end) continue;
      if (switches_.empty()) {
        std::copy_n(step.kinds, rows_, kinds_.begin());
        step.kinds = kinds_.data();
      }
      switches_.push_back(column);
      for (std::int64_t r = begin; r < end; ++r) {
        kinds_[r] |= kWeightSwitch;
        if (const std::int64_t c = column - r; observable_ && left + c < cols_)
          written_active_[at + r * width + c] = written_shadow_[at + r * width + c];
      }
    }
    step.switches = switches_.data();
    step.switch_count = switches_.size();
  }
  (cycles == 1 ? kernel_.step : kernel_.step_ahead)(step);
}

PeRegisters CycleMachine::registers(int r, int c) const {
  PeRegisters found;
  found.weight = written_active_[place(r, c)];
  // In the last step the PE met what entered its row's edge so many moves before. Every cycle of the job has
  // left its mark since, so what an earlier job left is never read.
  const std::int64_t entry = cycle_ - 1 - r - c;
  found.valid = entry >= 0 && entered_[entry % std::ssize(entered_)] != 0;
  if (!found.valid) return found;
  found.activation = windows_[r * window_stride_ + window_ + c];
  found.psum = pe::sign_extend(static_cast<std::uint32_t>(psums_[psum_index(r, c)]), accumulator_bits_);
  return found;
}

// Below the last row: each column's results in the order of its valid tokens.
void CycleMachine::collect() {
  if (flag_window_ == 0) {
    std::copy_backward(bottom_flags_.begin(), bottom_flags_.begin() + cols_, bottom_flags_.end());
    flag_window_ = static_cast<std::size_t>(window_length_ - cols_);
  }
  const std::uint8_t* flags = bottom_flags_.data() + --flag_window_;
  const std::int64_t entry = cycle_ - (rows_ - 1);
  const std::uint8_t entering = entry < 0 ? std::uint8_t{0} : entered_[entry % std::ssize(entered_)];
  bottom_flags_[flag_window_] = entering;
  bottom_valid_ += entering & kValid;
  bottom_valid_ -= flags[cols_] & kValid;
  bottom_run_ = entering == kValid ? bottom_run_ + 1 : 0;
  if (bottom_valid_ == 0) return;
  const std::int32_t* results =
      results_.data() + static_cast<std::size_t>(ahead_length_ - ahead_) * strips_ * kernel_.width;
  // All columns amid one stream: none begins, and the column furthest on does not end.
  if (bottom_run_ >= cols_ && columns_[0].remaining - run_collected_ > 1) {
    collect_run(results);
    return;
  }
  if (run_collected_ > 0) {
    for (ColumnState& column : columns_) {
      if (column.next != nullptr) column.next += run_collected_ * feed_.job().shape.out_c;
      column.remaining -= run_collected_;
    }
    run_collected_ = 0;
  }
  for (int c = 0; c < cols_; ++c)
    if ((flags[c] & kValid) != 0) collect_column(c, flags[c], results[psum_places_[c]]);
}

void CycleMachine::collect_run(const std::int32_t* results) {
  const std::int64_t offset = run_collected_ * feed_.job().shape.out_c;
  if (run_collected_ == 0) {
    run_columns_ = 0;
    while (run_columns_ < cols_ && columns_[run_columns_].next != nullptr) ++run_columns_;
  }
  for (int c = 0; c < run_columns_; ++c) {
    std::int32_t& accumulator = columns_[c].next[offset];
    const auto result = static_cast<std::uint32_t>(results[psum_places_[c]]);
    accumulator = pe::wrapping_add(accumulator, pe::sign_extend(result, accumulator_bits_), 32);
  }
  ++run_collected_;
}

void CycleMachine::collect_column(int c, std::uint8_t flags, std::int32_t result) {
  ColumnState& column = columns_[c];
  if ((flags & kFirst) != 0) {
    const TileWork tile = feed_.tile(++column.tile);
    column.next = feed_.accumulator(tile, 0, c);
    column.remaining = tile.m.count;
  }
  if (column.next != nullptr) {
    const std::int32_t value = pe::sign_extend(static_cast<std::uint32_t>(result), accumulator_bits_);
    *column.next = pe::wrapping_add(*column.next, value, 32);
    column.next += feed_.job().shape.out_c;
  }
  if (--column.remaining > 0) return;
  ++columns_out_;
  const auto stream = static_cast<std::size_t>(column.tile - streams_out_);
  if (stream >= delivered_.size()) delivered_.resize(stream + 1, 0);
  ++delivered_[stream];
}

}  // namespace kintsugi::array

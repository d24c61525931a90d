#include "array/pe_array_sc.h"

#include <fmt/format.h>

#include <algorithm>
#include <stdexcept>

#include "array/reset_state.h"

namespace kintsugi::array {

namespace {

template <class T>
void add_signals(std::vector<std::unique_ptr<sc_core::sc_signal<T>>>& out, const char* name, int count) {
  for (int i = 0; i < count; ++i)
    out.push_back(std::make_unique<sc_core::sc_signal<T>>(fmt::format("{}_{}", name, i).c_str()));
}

template <class T>
void add_signals(std::vector<std::unique_ptr<sc_core::sc_signal<T>>>& out, const char* name, int rows,
                 int cols) {
  for (int r = 0; r < rows; ++r)
    for (int c = 0; c < cols; ++c)
      out.push_back(std::make_unique<sc_core::sc_signal<T>>(fmt::format("{}_{}_{}", name, r, c).c_str()));
}

}  // namespace

PeArray::PeArray(sc_core::sc_module_name name, const configs::ArrayConfig& array)
    : ClockedArray(name),
      rows_(array.rows),
      cols_(array.cols),
      accumulator_bits_(array.accumulator_bits),
      faults_(faults::fault_free(array.rows, array.cols)),
      sequencer_("sequencer", array.rows, array.cols, array.weight_double_buffer, feed_) {
  add_signals(activations_, "activation", rows_, cols_ + 1);
  add_signals(psums_, "psum", rows_ + 1, cols_);
  add_signals(weights_, "weight", rows_ + 1, cols_);
  add_signals(feed_tokens_, "feed", rows_ + 1);
  add_signals(load_tokens_, "load", cols_ + 1);
  add_signals(streams_out_, "streams_out", cols_);
  for (int r = 0; r < rows_; ++r) {
    row_feeders_.push_back(std::make_unique<RowFeeder>(fmt::format("row_feeder_{}", r).c_str(), r, feed_));
    for (int c = 0; c < cols_; ++c)
      pes_.push_back(std::make_unique<pe::Pe>(fmt::format("pe_{}_{}", r, c).c_str(), r,
                                              array.accumulator_bits, array.weight_double_buffer));
  }
  for (int c = 0; c < cols_; ++c) {
    column_feeders_.push_back(
        std::make_unique<ColumnFeeder>(fmt::format("column_feeder_{}", c).c_str(), c, feed_));
    collectors_.push_back(std::make_unique<Collector>(fmt::format("collector_{}", c).c_str(), c, feed_));
  }
  wire_edges();
  wire_pes();
}

PeArray::~PeArray() = default;

void PeArray::wire_edges() {
  sequencer_.clock(clock);
  sequencer_.feed(*feed_tokens_[0]);
  sequencer_.load(*load_tokens_[0]);
  for (int r = 0; r < rows_; ++r) {
    RowFeeder& feeder = *row_feeders_[r];
    feeder.clock(clock);
    feeder.token_in(*feed_tokens_[r]);
    feeder.token_out(*feed_tokens_[r + 1]);
    feeder.activation(*activations_[static_cast<std::size_t>(r) * (cols_ + 1)]);
  }
  for (int c = 0; c < cols_; ++c) {
    ColumnFeeder& feeder = *column_feeders_[c];
    feeder.clock(clock);
    feeder.token_in(*load_tokens_[c]);
    feeder.token_out(*load_tokens_[c + 1]);
    feeder.weight(*weights_[place(0, c)]);
    Collector& collector = *collectors_[c];
    collector.clock(clock);
    collector.psum(*psums_[place(rows_, c)]);
    collector.streams_out(*streams_out_[c]);
    sequencer_.streams_out[c](*streams_out_[c]);
  }
}

// The wires above row 0 that carry partial sums have no driver: they stay zero.
void PeArray::wire_pes() {
  for (int r = 0; r < rows_; ++r) {
    for (int c = 0; c < cols_; ++c) {
      pe::Pe& cell = *pes_[place(r, c)];
      const std::size_t left = static_cast<std::size_t>(r) * (cols_ + 1) + c;
      cell.clock(clock);
      cell.act_in(*activations_[left]);
      cell.act_out(*activations_[left + 1]);
      cell.psum_in(*psums_[place(r, c)]);
      cell.psum_out(*psums_[place(r + 1, c)]);
      cell.weight_in(*weights_[place(r, c)]);
      cell.weight_out(*weights_[place(r + 1, c)]);
    }
  }
}

void PeArray::load_faults(const faults::ArrayFaults& faults) {
  if (faults.rows != rows_ || faults.cols != cols_)
    throw std::invalid_argument("PeArray: the faults are for an array of another size");
  if (!done()) throw std::logic_error("PeArray: faults loaded while a job runs");
  for (int r = 0; r < rows_; ++r)
    for (int c = 0; c < cols_; ++c) pes_[place(r, c)]->set_faults({}, faults.bypassed(r, c));
  for (const faults::FaultyPe& faulty : faults.faulty)
    pes_[place(faulty.row, faulty.col)]->set_faults(faulty.hooks, faults.bypassed(faulty.row, faulty.col));
  faults_ = faults;
}

void PeArray::start(const LayerJob& job, const Tiling& tiling, TileGate* gate, const sc_core::sc_time& cycle,
                    TimedJob* timed) {
  if (!done()) throw std::logic_error("PeArray: a job was started while another runs");
  feed_ = TileFeed(job, tiling);
  std::fill_n(job.accumulators, job.shape.outputs(), 0);
  for (auto& collector : collectors_) collector->restart();
  begin_pes(timed);
  sequencer_.restart(gate, cycle, timed != nullptr);
}

void PeArray::begin_pes(TimedJob* timed) {
  errors_.reset();
  if (timed == nullptr) {
    for (const auto& cell : pes_) cell->begin_job(nullptr, {});
    return;
  }
  errors_ = std::make_unique<PeErrors>(*timed, feed_, faults_);
  const std::vector<pe::PeInputs> reset = inputs_after_reset(faults_, accumulator_bits_);
  for (std::size_t i = 0; i < pes_.size(); ++i) pes_[i]->begin_job(errors_->of(i), reset[i]);
}

PeRegisters PeArray::registers(int row, int col) const {
  const pe::ActivationToken& activation =
      activations_[static_cast<std::size_t>(row) * (cols_ + 1) + col + 1]->read();
  const pe::PsumToken& psum = psums_[place(row + 1, col)]->read();
  const std::int8_t weight = pes_[place(row, col)]->weight();
  if (!activation.valid) return {false, 0, 0, weight};
  return {true, activation.value, psum.value, weight};
}

void PeArray::trace(sc_core::sc_trace_file* file) const {
  sc_core::sc_trace(file, clock, clock.name());
  sc_trace(file, feed_tokens_[0]->read(), feed_tokens_[0]->name());
  sc_trace(file, load_tokens_[0]->read(), load_tokens_[0]->name());
  for (const auto& signal : activations_) sc_trace(file, signal->read(), signal->name());
  for (const auto& signal : psums_) sc_trace(file, signal->read(), signal->name());
  for (const auto& signal : weights_) sc_trace(file, signal->read(), signal->name());
}

}  // namespace kintsugi::array

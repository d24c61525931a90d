#include "array/pe_edges_sc.h"

#include <stdexcept>

namespace kintsugi::array {

std::ostream& operator<<(std::ostream& out, const FeedToken& token) {
  if (!token.valid) return out << "idle";
  return out << "tile " << token.tile << " position " << token.m;
}

std::ostream& operator<<(std::ostream& out, const LoadToken& token) {
  if (!token.valid) return out << "idle";
  return out << "tile " << token.tile << " row " << token.row;
}

void sc_trace(sc_core::sc_trace_file* file, const FeedToken& token, const std::string& name) {
  sc_core::sc_trace(file, token.tile, name + ".tile", 64);
  sc_core::sc_trace(file, token.m, name + ".m", 64);
  sc_core::sc_trace(file, token.valid, name + ".valid");
}

void sc_trace(sc_core::sc_trace_file* file, const LoadToken& token, const std::string& name) {
  sc_core::sc_trace(file, token.tile, name + ".tile", 64);
  sc_core::sc_trace(file, token.row, name + ".row", 16);
  sc_core::sc_trace(file, token.valid, name + ".valid");
}

RowFeeder::RowFeeder(sc_core::sc_module_name name, int row, const TileFeed& feed)
    : sc_core::sc_module(name), row_(row), feed_(feed) {
  SC_METHOD(drive);
  sensitive << token_in;
  dont_initialize();
  SC_METHOD(on_clock);
  sensitive << clock.pos();
  dont_initialize();
}

void RowFeeder::drive() {
  const FeedToken& token = token_in.read();
  if (!token.valid) {
    activation.write({0, false, false, token.clocked});
    return;
  }
  activation.write(
      {feed_.activation(feed_.tile(token.tile), token.m, row_), true, token.m == 0, token.clocked});
}

ColumnFeeder::ColumnFeeder(sc_core::sc_module_name name, int column, const TileFeed& feed)
    : sc_core::sc_module(name), column_(column), feed_(feed) {
  SC_METHOD(drive);
  sensitive << token_in;
  dont_initialize();
  SC_METHOD(on_clock);
  sensitive << clock.pos();
  dont_initialize();
}

void ColumnFeeder::drive() {
  const LoadToken& token = token_in.read();
  if (!token.valid) {
    weight.write({});
    return;
  }
  weight.write({feed_.weight(feed_.tile(token.tile), token.row, column_), true, token.row});
}

Collector::Collector(sc_core::sc_module_name name, int column, const TileFeed& feed)
    : sc_core::sc_module(name), column_(column), feed_(feed) {
  SC_METHOD(on_clock);
  sensitive << clock.pos();
  dont_initialize();
  SC_METHOD(collect);
  sensitive << settled_;
  dont_initialize();
}

void Collector::collect() {
  const pe::PsumToken& result = psum.read();
  if (!result.valid) return;
  if (result.first) {
    work_ = feed_.tile(++tile_);
    position_ = 0;
  }
  if (std::int32_t* accumulator = feed_.accumulator(work_, position_, column_))
    *accumulator = pe::wrapping_add(*accumulator, result.value, 32);
  if (++position_ == work_.m.count) streams_out.write(++finished_);
}

Sequencer::Sequencer(sc_core::sc_module_name name, int rows, int cols, bool weight_double_buffer,
                     const TileFeed& tiles)
    : sc_core::sc_module(name), rows_(rows), double_buffer_(weight_double_buffer), tiles_(tiles) {
  streams_out.init(cols);
  SC_METHOD(on_clock);
  sensitive << clock.pos();
  dont_initialize();
  SC_METHOD(settle);
  sensitive << settled_;
  for (auto& port : streams_out) sensitive << port;
  dont_initialize();
  SC_METHOD(decide);
  sensitive << decision_;
  dont_initialize();
}

void Sequencer::restart(TileGate* gate, const sc_core::sc_time& cycle, bool clock_enables) {
  clock_enables_ = clock_enables;
  started_ = sc_core::sc_time_stamp();
  gate_ = gate;
  cycle_ = cycle;
  loading_ = weights_ready_ = feeding_ = false;
  loads_begun_ = streams_begun_ = streams_told_ = 0;
  wait_ = TileGate::Wait::none;
  counts_ = {};
  done_ = tiles_.tiles() == 0;
  if (done_) return;
  if (gate_ != nullptr)
    decision_.notify(cycle_ * 0.375);
  else
    settled_.notify(sc_core::SC_ZERO_TIME);
}

void Sequencer::on_clock() {
  if (done_) return;
  if (sc_core::sc_time_stamp() == started_)
    throw std::logic_error("PeArray: the clock rose at the time of start, before the edges had settled");
  count();
  if (!feeding_) ++since_fed_;
  if (loading_ && ++load_row_ == rows_) {
    loading_ = false;
    weights_ready_ = true;
    if (gate_ != nullptr) gate_->load_ended(loads_begun_ - 1);
  }
  if (feeding_ && ++feed_position_ == feed_length_) {
    feeding_ = false;
    since_fed_ = 0;
    if (gate_ != nullptr) gate_->stream_fed(streams_begun_ - 1);
  }
  settled_.notify(sc_core::SC_ZERO_TIME);
  if (gate_ != nullptr) decision_.notify(cycle_ * 0.875);
}

// What the sequencer's outputs were in the cycle that ends.
void Sequencer::count() {
  if (feeding_)
    ++counts_.active;
  else if (loading_)
    ++counts_.weight_shift;
  else if (weights_ready_)
    ++(wait_ == TileGate::Wait::activations ? counts_.stall_activations : counts_.stall_accumulators);
  else if (loads_begun_ < tiles_.tiles() && (double_buffer_ || streams_are_out(loads_begun_)))
    ++counts_.stall_weights;
  else
    ++counts_.pipeline;
}

bool Sequencer::streams_are_out(std::int64_t streams) const {
  for (const auto& column : streams_out)
    if (column.read() < streams_before_ + streams) return false;
  return true;
}

// After the edge, as results come out.
void Sequencer::settle() {
  if (done_) return;
  while (streams_told_ < streams_begun_ && streams_are_out(streams_told_ + 1)) {
    if (gate_ != nullptr) gate_->stream_out(streams_told_);
    ++streams_told_;
  }
  if (streams_told_ == tiles_.tiles()) {
    done_ = true;
    streams_before_ += streams_told_;
    decision_.cancel();
  }
  // The signals have one writer: with a gate that is the process that decides.
  if (gate_ == nullptr)
    decide();
  else if (done_)
    decision_.notify(sc_core::SC_ZERO_TIME);
}

bool Sequencer::may_load() const {
  // No load under way and none waiting for its stream to begin: the shadow registers are free. Without them,
  // the registers in use are free once the last result of that stream is out.
  return !loading_ && !weights_ready_ && loads_begun_ < tiles_.tiles() &&
         (double_buffer_ || streams_are_out(loads_begun_)) &&
         (gate_ == nullptr || gate_->may_load(loads_begun_));
}

// Whether a cycle in which nothing is fed is clocked: between two streams, while the array is at work.
bool Sequencer::idle() const {
  if (streams_begun_ == 0 || streams_begun_ == tiles_.tiles()) return false;
  if (double_buffer_) return since_fed_ < rows_ - feed_length_;
  return loading_ || !streams_are_out(streams_begun_);
}

std::int16_t Sequencer::clocked_columns() const {
  if (!clock_enables_ || !(feeding_ || idle())) return 0;
  return static_cast<std::int16_t>(tiles_.tile(streams_begun_ - 1).n.count);
}

void Sequencer::decide() {
  if (!feeding_ && weights_ready_) {
    wait_ = gate_ != nullptr ? gate_->may_stream(streams_begun_) : TileGate::Wait::none;
    if (wait_ == TileGate::Wait::none) {
      feeding_ = true;
      weights_ready_ = false;
      feed_position_ = 0;
      feed_length_ = tiles_.tile(streams_begun_).m.count;
      if (gate_ != nullptr) gate_->stream_begun(streams_begun_);
      ++streams_begun_;
    }
  }
  if (!done_ && may_load()) {
    loading_ = true;
    load_row_ = 0;
    if (gate_ != nullptr) gate_->load_begun(loads_begun_);
    ++loads_begun_;
  }
  feed.write(feeding_ ? FeedToken{streams_begun_ - 1, feed_position_, true, clocked_columns()}
                      : FeedToken{0, 0, false, clocked_columns()});
  load.write(loading_ ? LoadToken{loads_begun_ - 1, static_cast<std::int16_t>(rows_ - 1 - load_row_), true}
                      : LoadToken{});
}

}  // namespace kintsugi::array

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
    activation.write({});
    return;
  }
  activation.write({feed_.activation(feed_.tile(token.tile), token.m, row_), true, token.m == 0});
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
  SC_METHOD(decide);
  sensitive << settled_;
  for (auto& port : streams_out) sensitive << port;
  dont_initialize();
}

void Sequencer::restart() {
  started_ = sc_core::sc_time_stamp();
  loading_ = weights_ready_ = feeding_ = false;
  loads_begun_ = streams_begun_ = 0;
  done_ = tiles_.tiles() == 0;
  settled_.notify(sc_core::SC_ZERO_TIME);
}

void Sequencer::on_clock() {
  if (done_) return;
  if (sc_core::sc_time_stamp() == started_)
    throw std::logic_error("PeArray: the clock rose at the time of start, before the edges had settled");
  if (loading_ && ++load_row_ == rows_) {
    loading_ = false;
    weights_ready_ = true;
  }
  if (feeding_ && ++feed_position_ == feed_length_) feeding_ = false;
  settled_.notify(sc_core::SC_ZERO_TIME);
}

bool Sequencer::streams_are_out(std::int64_t streams) const {
  for (const auto& column : streams_out)
    if (column.read() < streams_before_ + streams) return false;
  return true;
}

void Sequencer::decide() {
  if (done_) return;
  if (streams_begun_ == tiles_.tiles() && !feeding_ && streams_are_out(streams_begun_)) {
    done_ = true;
    streams_before_ += streams_begun_;
  }
  if (!feeding_ && weights_ready_) {
    feeding_ = true;
    weights_ready_ = false;
    feed_position_ = 0;
    feed_length_ = tiles_.tile(streams_begun_).m.count;
    ++streams_begun_;
  }
  // No load under way and none waiting for its stream to begin: the shadow registers are free. Without them,
  // the registers in use are free once the last result of that stream is out.
  if (!loading_ && !weights_ready_ && loads_begun_ < tiles_.tiles() &&
      (double_buffer_ || streams_are_out(loads_begun_))) {
    loading_ = true;
    load_row_ = 0;
    ++loads_begun_;
  }
  feed.write(feeding_ ? FeedToken{streams_begun_ - 1, feed_position_, true} : FeedToken{});
  load.write(loading_ ? LoadToken{loads_begun_ - 1, static_cast<std::int16_t>(rows_ - 1 - load_row_), true}
                      : LoadToken{});
}

}  // namespace kintsugi::array

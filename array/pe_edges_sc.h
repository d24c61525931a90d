// What stands around the grid of PEs at the pe fidelity: the sequencer, a feeder for each row at the left
// edge, a feeder for each column at the top edge, and a collector for each column below the last row.
//
// The sequencer's tokens pass down the left edge one row a cycle and along the top edge one column a cycle;
// that is the skew of the systolic stream. Everything is clocked, but what a token stands for is read in the
// cycle it arrives in (feeders drive, collectors sample and the sequencer decides after the edge's registers
// have settled), so no edge adds a cycle of its own.
#pragma once

#include <cstdint>
#include <ostream>
#include <string>
#include <systemc>

#include "array/layer_cost.h"
#include "array/tile_feed.h"
#include "array/tile_gate.h"
#include "pe/pe.h"

namespace kintsugi::array {

// Position `m` of the stream of tile `tile`.
struct FeedToken {
  std::int64_t tile = 0;
  std::int64_t m = 0;
  bool valid = false;
  std::int16_t clocked = 0;  // columns that are, if there are timing errors
  friend bool operator==(const FeedToken&, const FeedToken&) = default;
};

// The weights of row `row` of tile `tile`.
struct LoadToken {
  std::int64_t tile = 0;
  std::int16_t row = 0;
  bool valid = false;
  friend bool operator==(const LoadToken&, const LoadToken&) = default;
};

std::ostream& operator<<(std::ostream& out, const FeedToken& token);
std::ostream& operator<<(std::ostream& out, const LoadToken& token);
void sc_trace(sc_core::sc_trace_file* file, const FeedToken& token, const std::string& name);
void sc_trace(sc_core::sc_trace_file* file, const LoadToken& token, const std::string& name);

// Turns the tokens of one row into activations. `feed` is the array's, and changes between jobs only.
class RowFeeder : public sc_core::sc_module {
 public:
  sc_core::sc_in<bool> clock{"clock"};
  sc_core::sc_in<FeedToken> token_in{"token_in"};
  sc_core::sc_out<FeedToken> token_out{"token_out"};
  sc_core::sc_out<pe::ActivationToken> activation{"activation"};

  SC_HAS_PROCESS(RowFeeder);
  RowFeeder(sc_core::sc_module_name name, int row, const TileFeed& feed);

 private:
  void drive();
  void on_clock() { token_out.write(token_in.read()); }

  int row_;
  const TileFeed& feed_;
};

// Turns the tokens of one column into weights.
class ColumnFeeder : public sc_core::sc_module {
 public:
  sc_core::sc_in<bool> clock{"clock"};
  sc_core::sc_in<LoadToken> token_in{"token_in"};
  sc_core::sc_out<LoadToken> token_out{"token_out"};
  sc_core::sc_out<pe::WeightToken> weight{"weight"};

  SC_HAS_PROCESS(ColumnFeeder);
  ColumnFeeder(sc_core::sc_module_name name, int column, const TileFeed& feed);

 private:
  void drive();
  void on_clock() { token_out.write(token_in.read()); }

  int column_;
  const TileFeed& feed_;
};

// Adds one column's valid results to the accumulators, tile by tile in the order they come.
class Collector : public sc_core::sc_module {
 public:
  sc_core::sc_in<bool> clock{"clock"};
  sc_core::sc_in<pe::PsumToken> psum{"psum"};
  // Streams whose last result is in, over all jobs.
  sc_core::sc_out<std::int64_t> streams_out{"streams_out"};

  SC_HAS_PROCESS(Collector);
  Collector(sc_core::sc_module_name name, int column, const TileFeed& feed);

  // The next stream to come out is that of a new job's first tile.
  void restart() { tile_ = -1; }

 private:
  void on_clock() { settled_.notify(sc_core::SC_ZERO_TIME); }
  void collect();

  int column_;
  const TileFeed& feed_;
  std::int64_t tile_ = -1, position_ = 0, finished_ = 0;
  TileWork work_;
  sc_core::sc_event settled_{"settled"};
};

// Decides when weights are loaded and streams are fed. With a gate it decides late in the low half of the
// clock, when everything that ends with the cycle before is known.
class Sequencer : public sc_core::sc_module {
 public:
  sc_core::sc_in<bool> clock{"clock"};
  sc_core::sc_vector<sc_core::sc_in<std::int64_t>> streams_out{"streams_out"};  // one for each column
  sc_core::sc_out<FeedToken> feed{"feed"};
  sc_core::sc_out<LoadToken> load{"load"};

  SC_HAS_PROCESS(Sequencer);
  Sequencer(sc_core::sc_module_name name, int rows, int cols, bool weight_double_buffer,
            const TileFeed& tiles);

  // The tokens of the first cycle stand a few delta cycles later, or 3/8 of a `cycle` with a gate, so the
  // clock must not rise at the same simulated time: std::logic_error if it does.
  // `clock_enables`: tokens say which PEs are clocked.
  void restart(TileGate* gate, const sc_core::sc_time& cycle, bool clock_enables);
  bool done() const { return done_; }
  const CycleBreakdown& breakdown() const { return counts_; }

 private:
  void on_clock();
  void settle();
  void decide();
  void count();
  // Whether this job's first `streams` streams are out in all columns.
  bool streams_are_out(std::int64_t streams) const;
  bool may_load() const;
  bool idle() const;
  std::int16_t clocked_columns() const;

  int rows_;
  bool double_buffer_;
  const TileFeed& tiles_;
  TileGate* gate_ = nullptr;
  sc_core::sc_time cycle_;
  bool done_ = true;
  sc_core::sc_time started_;
  bool loading_ = false, weights_ready_ = false, feeding_ = false;
  std::int16_t load_row_ = 0;
  std::int64_t feed_position_ = 0, feed_length_ = 0;
  bool clock_enables_ = false;
  std::int64_t since_fed_ = 0;  // cycles
  std::int64_t loads_begun_ = 0, streams_begun_ = 0;
  std::int64_t streams_before_ = 0;  // of earlier jobs
  std::int64_t streams_told_ = 0;    // of this job, to the gate
  TileGate::Wait wait_ = TileGate::Wait::none;
  CycleBreakdown counts_;
  sc_core::sc_event settled_{"settled"};
  sc_core::sc_event decision_{"decision"};
};

}  // namespace kintsugi::array

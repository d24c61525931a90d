// The memory system as one would simulate it with pencil and paper: a loop over cycles, and in every cycle
// every condition of docs/timing.md ("The memory system") is looked at again. The witness of the closed
// calendar and of the platform's modules; written from that page alone and sharing nothing with them: tiles,
// blocks, slabs and transfers are cut here by plain loops, down to single bytes, and time on the DRAM bus is
// counted in whole ticks of its own.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "array/accelerator.h"
#include "configs/chip.h"

namespace kintsugi::test {

// What a launch cost. Of `traffic` only what goes over the DRAM bus is filled in.
struct NaiveReport {
  bool fits = true;  // false: the unified buffer is too small, nothing happened
  std::int64_t cycles = 0;
  array::CycleBreakdown breakdown;
  array::Traffic traffic;
  std::vector<array::TimelineEvent> events;  // of the lanes array_load, array_stream and activation_unit
  // What this case shows, for tests that want to know that they have seen it.
  bool slabs = false;
  bool halved = false;          // chunks shorter than the accumulators allow
  std::int64_t prefetched = 0;  // tiles of the layer that follows whose weights were asked for
  std::int64_t ties = 0;        // cycles in which activations went before outputs ready since the same cycle
};

// One chip, from power-on. Launches follow each other without a gap, and leave behind what the rules say:
// open DRAM rows and prefetched weights.
class NaiveMemory {
 public:
  // Clock in whole kHz, bandwidth in whole kB/s, times in whole ps; anything finer is lost.
  explicit NaiveMemory(const configs::ChipConfig& chip);

  NaiveReport launch(const array::LayerLaunch& launch);
  NaiveReport launch(const array::VectorLaunch& launch);

 private:
  static constexpr std::int64_t kNever = -1;  // not happened yet
  enum Kind { weights, activations, outputs };

  struct Piece {
    std::uint64_t address = 0;
    std::int64_t bytes = 0;
  };
  using Pieces = std::vector<Piece>;

  struct Request {
    std::vector<Pieces> transfers;  // never none
    std::int64_t block = 0;         // of outputs, and of activations that come in slabs
    std::size_t issued = 0;
    std::int64_t ready = kNever, complete = kNever;
  };

  // A tile of weights as the FIFO sees it; layers follow each other in one list.
  struct Tile {
    Request request;
    std::uint64_t address = 0;  // of its first weight
    std::int64_t column = 0;    // of the result: its first
    std::int64_t k = 0, n = 0, m = 0, block = 0;
    bool first_of_block = false, last_of_block = false;
    std::int64_t load = kNever, read = kNever, stream = kNever;  // L, U, S
  };

  struct Block {
    std::int64_t chunk = 0;
    std::int64_t activation_request = kNever, output_request = kNever;  // none: nothing to move
    std::int64_t elements = 0, bytes_written = 0;
    std::int64_t last_tile = 0;
    std::int64_t drain = kNever, drained = kNever;
  };

  struct InFlight {
    Kind kind = weights;
    std::size_t request = 0;
    bool last = false;
    std::int64_t complete = 0;
  };

  struct Job {
    std::int64_t begin = 0;
    std::size_t first_tile = 0, end_tile = 0;  // in tiles_
    bool input_in_dram = false, result_in_dram = false, slabs = false;
    std::vector<Block> blocks;
    std::vector<Request> activations, outputs;
    std::size_t activations_issued = 0, outputs_issued = 0;
    // A pass of the activation unit: no tiles, one block.
    bool vector = false;
    std::int64_t pass_cycles = 0;
  };

  // Cutting.
  struct Cut {
    std::int64_t chunk = 0;
    bool slabs = false;
  };
  std::optional<Cut> cut(const array::LayerLaunch& launch, bool& halved) const;
  std::vector<Pieces> transfers_of(const Pieces& runs) const;
  std::vector<Tile> weight_tiles(const array::LayerShape& shape, array::DeviceAddress address) const;

  void add_tiles_and_blocks(Job& job, const array::LayerLaunch& launch, std::int64_t chunk);
  void add_activation_requests(Job& job, const array::LayerLaunch& launch, std::int64_t chunk);

  // One cycle.
  NaiveReport run(Job& job);
  void settle(Job& job, std::int64_t now);
  bool complete_transfers(Job& job, std::int64_t now);
  bool make_ready(Job& job, std::int64_t now);
  bool is_allowed(Job& job, Kind kind, std::int64_t now);
  bool start_load(Job& job, std::int64_t now);
  bool start_read(Job& job, std::int64_t now);
  bool start_stream(Job& job, std::int64_t now);
  bool start_drain(Job& job, std::int64_t now);
  bool issue_one(Job& job, std::int64_t now, NaiveReport& report);
  bool is_over(const Job& job, std::int64_t now) const;
  void count(const Job& job, std::int64_t now, array::CycleBreakdown& breakdown) const;

  // Conditions; all of them of things that have, or have not, happened by cycle `now`.
  static bool by(std::int64_t time, std::int64_t now) { return time != kNever && time <= now; }
  std::int64_t out(const Tile& tile) const;  // O
  std::int64_t read_cycles(const Tile& tile) const;
  bool load_could_begin(const Job& job, std::size_t tile, std::int64_t now) const;
  bool activations_allow(const Tile& tile, std::int64_t now) const;
  bool accumulators_allow(const Job& job, const Tile& tile, std::int64_t now) const;
  // Of each kind the first request that has not been issued whole.
  std::size_t& head(Job& job, Kind kind);
  Request* request(Job& job, Kind kind, std::size_t index);
  std::int64_t put_on_bus(const Pieces& transfer, std::int64_t now, array::Traffic& traffic);

  configs::ChipConfig chip_;
  configs::MemoryConfig memory_;
  // A cycle is `cycle_ticks_` ticks of the bus.
  std::int64_t cycle_ticks_ = 0, burst_ticks_ = 0, miss_ticks_ = 0, latency_ = 0;
  __int128 bus_free_ = 0;
  std::vector<std::int64_t> open_rows_;

  std::int64_t now_ = 0;
  std::vector<Tile> tiles_;
  std::size_t weights_issued_ = 0;  // tiles
  std::vector<InFlight> in_flight_;
};

}  // namespace kintsugi::test

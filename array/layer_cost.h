// What a layer costs: its cycles by what the array did in them, the bytes it moved, and when things happened.
#pragma once

#include <cstdint>
#include <functional>

namespace kintsugi::array {

// Every cycle of a job is counted once, under the first line that holds in it. The last four are stalls: the
// array waits for the memory system. With ideal memory they are zero.
struct CycleBreakdown {
  std::int64_t active = 0;              // a stream is being fed
  std::int64_t weight_shift = 0;        // weights are being loaded, nothing is fed
  std::int64_t pipeline = 0;            // results of the last stream begun are still on their way down
  std::int64_t stall_weights = 0;       // the next tile's weights are not in the weight FIFO
  std::int64_t stall_activations = 0;   // … its activations not in the unified buffer, or read too slowly
  std::int64_t stall_accumulators = 0;  // … no accumulators are free for its results
  std::int64_t stall_output = 0;        // all results are out; they are still being drained or written

  std::int64_t stalls() const {
    return stall_weights + stall_activations + stall_accumulators + stall_output;
  }
  std::int64_t total() const { return active + weight_shift + pipeline + stalls(); }
  CycleBreakdown& operator+=(const CycleBreakdown& other);
  friend bool operator==(const CycleBreakdown&, const CycleBreakdown&) = default;
};

// Bytes moved. `dram_*` are zero with ideal memory; `dram_bus_bytes` counts bursts whole.
struct Traffic {
  std::int64_t dram_weight_bytes = 0, dram_activation_bytes = 0;  // read
  std::int64_t dram_output_bytes = 0;                             // written
  std::int64_t dram_bus_bytes = 0;
  std::int64_t row_hits = 0, row_misses = 0;  // bursts; zero without row buffers
  std::int64_t buffer_bytes = 0;              // unified buffer, read and written, by all of its ports
  std::int64_t fifo_bytes = 0;                // weight FIFO, in and out
  std::int64_t accumulator_bytes = 0;         // accumulators, read and written
  std::int64_t register_bytes = 0;            // written into registers of PEs and weight pipes

  std::int64_t dram_bytes() const { return dram_weight_bytes + dram_activation_bytes + dram_output_bytes; }
  Traffic& operator+=(const Traffic& other);
  friend bool operator==(const Traffic&, const Traffic&) = default;
};

enum class Lane { dma_weights, dma_activations, dma_outputs, array_load, array_stream, activation_unit };

// [begin, end) in cycles of the job. `index`: the tile for weights, loads and streams; the request for
// activations; the block for outputs and the activation unit. `bytes`: of DMA lanes.
struct TimelineEvent {
  Lane lane = Lane::array_stream;
  std::int64_t begin = 0, end = 0;
  std::int64_t index = 0;
  std::int64_t bytes = 0;
  friend bool operator==(const TimelineEvent&, const TimelineEvent&) = default;
};
// Told of every event when it ends; may be empty.
using TimelineSink = std::function<void(const TimelineEvent&)>;

}  // namespace kintsugi::array

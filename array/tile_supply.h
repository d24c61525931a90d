// The rules of the memory system around one array: which weights, activations and accumulators are there,
// what the DMA engine moves next, when the activation unit drains a block. docs/timing.md has them in words.
//
// Knows rules and no clock: its owner says which cycle it is, and calls in cycle order. Everything that ends
// with a cycle (loads, streams, transfers, drains) is told first; then settle(); then loads and streams may
// begin and next() may be called, in any order. The owners are the platform (sim/), where the array's part is
// what its registers take, and the calendar (array/layer_calendar.h). Pure C++.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <optional>
#include <vector>

#include "array/layer_plan.h"
#include "array/tile_gate.h"
#include "array/transfer_cutter.h"
#include "configs/memory.h"
#include "memory/transfer.h"

namespace kintsugi::array {

class TileSupply final : public memory::TransferSource {
 public:
  explicit TileSupply(const configs::MemoryConfig& memory);

  // Starts a layer; the one before must have ended. `plan` (and `next`, whose first block's weights are
  // fetched ahead; may be null) must stay until finished(). If `plan` is what was `next`, what was fetched
  // ahead is there.
  void begin(const LayerPlan& plan, const LayerPlan* next, std::int64_t cycle);
  // Everything is out, drained and written.
  bool finished() const;
  const LayerPlan* plan() const { return plan_; }

  // ---- For the array ----
  bool weights_present(std::int64_t tile) const;
  // From which cycle on the activations allow the stream of the tile that streams next; none: not known yet,
  // they are on their way.
  std::optional<std::int64_t> activations_from(std::int64_t tile) const;
  bool accumulators_free(std::int64_t tile) const;
  TileGate::Wait stream_wait(std::int64_t tile, std::int64_t cycle) const;

  void load_begun(std::int64_t tile, std::int64_t cycle);
  void load_ended(std::int64_t tile, std::int64_t cycle);  // the first cycle after it; so in stream_fed()
  void stream_begun(std::int64_t tile, std::int64_t cycle);
  void stream_fed(std::int64_t tile, std::int64_t cycle);
  void stream_out(std::int64_t tile);

  // ---- For the activation unit ----
  struct Drain {
    std::int64_t block = 0;
    std::int64_t cycles = 0;
  };
  // The drain that begins in this cycle, if any.
  std::optional<Drain> settle(std::int64_t cycle);
  void drained(std::int64_t block, std::int64_t cycle);

  // ---- For the DMA engine ----
  std::optional<memory::Transfer> next(std::int64_t cycle) override;
  void complete(const memory::Transfer& transfer, std::int64_t cycle) override;

  // Bytes issued since begin(); only the dram_…_bytes of weights, activations and outputs.
  const Traffic& issued() const { return issued_; }
  // Events from now on, in cycles since begin().
  void observe(TimelineSink sink) { sink_ = std::move(sink); }

 private:
  using Kind = memory::TransferKind;
  // Requests of one kind, in order. Those of weights are numbered on over all layers.
  struct Channel {
    struct Flight {
      std::int64_t transfers = 0;  // on their way
      std::int64_t begin = 0, bytes = 0;
      bool issued = false;  // in full
    };
    std::int64_t issued = 0, completed = 0;  // requests
    std::int64_t since = 0;                  // the cycle in which the last of them was issued
    std::optional<TransferCutter> cutter;    // of the one that is being issued
    std::deque<Flight> flights;              // those that are not complete
  };

  Channel& channel(Kind kind) { return channels_[static_cast<std::size_t>(kind)]; }
  const Channel& channel(Kind kind) const { return channels_[static_cast<std::size_t>(kind)]; }
  // The cycle from which the channel's next request is ready, if it is known; so the next three.
  std::optional<std::int64_t> ready(Kind kind) const;
  std::optional<std::int64_t> weights_ready() const;
  std::optional<std::int64_t> activations_ready() const;
  std::optional<std::int64_t> outputs_ready() const;
  std::vector<memory::Run> runs(Kind kind, std::int64_t request) const;
  void request_complete(Kind kind, std::int64_t request, const Channel::Flight& flight, std::int64_t cycle);
  void event(Lane lane, std::int64_t begin, std::int64_t end, std::int64_t index,
             std::int64_t bytes = 0) const;

  configs::MemoryConfig memory_;
  const LayerPlan* plan_ = nullptr;
  const LayerPlan* next_ = nullptr;
  std::int64_t start_ = 0;
  std::array<Channel, 3> channels_;

  // Weight FIFO. Request numbers of this layer start at the base.
  std::int64_t weights_base_ = 0;
  std::int64_t loads_ended_ = 0;         // over all layers
  std::vector<std::int64_t> slot_free_;  // since when, per slot
  std::int64_t load_begin_ = 0;

  // Activations.
  std::vector<std::int64_t> fetched_;    // when, per request
  std::vector<std::int64_t> block_fed_;  // when, per block
  std::int64_t port_free_ = 0;           // the unified buffer's port to the array
  std::int64_t stream_begin_ = 0;        // of the last stream

  // Accumulators, activation unit, outputs.
  std::int64_t blocks_out_ = 0, blocks_drained_ = 0;
  bool draining_ = false;
  std::int64_t drain_begin_ = 0;
  struct Written {
    std::int64_t block = 0, cycle = 0;  // drained
  };
  std::vector<Written> writes_;               // per output request
  std::vector<std::int64_t> write_of_block_;  // its request, −1 if it writes nothing

  Traffic issued_;
  TimelineSink sink_;
};

}  // namespace kintsugi::array

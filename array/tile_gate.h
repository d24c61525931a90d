// What the sequencers of the arrays ask the memory system, and what they tell it. One with ideal memory needs
// none.
//
// begun: in this cycle. ended, fed, out: this cycle is the last one of it, so it is over from the next on.
#pragma once

#include <cstdint>

namespace kintsugi::array {

class TileGate {
 public:
  enum class Wait { none, activations, accumulators };

  virtual ~TileGate() = default;
  // Whether the load of this tile may begin in this cycle: its weights are in the FIFO.
  virtual bool may_load(std::int64_t tile) = 0;
  // What keeps the stream of this tile, whose weights are loaded, from beginning in this cycle.
  virtual Wait may_stream(std::int64_t tile) = 0;

  virtual void load_begun(std::int64_t tile) = 0;
  virtual void load_ended(std::int64_t tile) = 0;
  virtual void stream_begun(std::int64_t tile) = 0;
  virtual void stream_fed(std::int64_t tile) = 0;
  // All columns have delivered.
  virtual void stream_out(std::int64_t tile) = 0;
};

}  // namespace kintsugi::array

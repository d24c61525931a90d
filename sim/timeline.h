// What happened when in the memory system and the array, in Chrome's trace event format, which Perfetto
// (ui.perfetto.dev) and chrome://tracing open.
//
// Every layer's launches are a slice in the lane "layers"; below it, a lane each for the DMA's three streams,
// weight loads, streams and the activation unit. Transfers may be under way together, so the DMA's lanes take
// as many rows as they need. Times are microseconds of the chip's clock, jobs one after another without a
// gap; `args` carry cycles of the whole run, indices and bytes.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "array/layer_cost.h"

namespace kintsugi::sim {

class TimelineWriter {
 public:
  explicit TimelineWriter(double clock_mhz);

  // A launch of this layer begins: events from now on count from its cycle 0.
  void begin_layer(const std::string& name);
  // An event of the launch that is open. May begin before its cycle 0 (weights fetched ahead, while the
  // launch before was running), and come in any order.
  void operator()(const array::TimelineEvent& event);
  // The launch is over. A layer that runs on the host has 0 cycles and leaves nothing.
  void end_layer(std::int64_t cycles);

  std::int64_t cycles() const { return now_; }
  std::size_t events() const { return events_.size(); }

  // Writes the file, whole or not at all. `chip` names it in the viewer.
  void finish(const std::filesystem::path& file, const std::string& chip) const;

 private:
  struct Placed {
    array::TimelineEvent event;  // in cycles of the whole run
    std::size_t layer = 0;
  };
  struct Launch {
    std::string name;
    std::int64_t begin = 0, end = 0;
  };

  double clock_mhz_;
  std::int64_t now_ = 0;  // where the open launch begins
  bool open_ = false;
  std::vector<Launch> launches_;
  std::vector<Placed> events_;
};

}  // namespace kintsugi::sim

#include "sim/timeline.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <tuple>

#include "common/files.h"

namespace kintsugi::sim {
namespace {

constexpr int kProcess = 1;
constexpr int kLayersThread = 1;
// Threads of a lane: its first one, then one more for every transfer that is under way beside it.
constexpr int kThreadsPerLane = 1 << 17;

struct LaneText {
  array::Lane lane;
  const char* name;   // of the lane
  const char* slice;  // what one of its slices is called
  const char* index;  // what its number counts
};
constexpr std::array<LaneText, 6> kLanes = {{
    {array::Lane::dma_weights, "DMA weights", "weights", "tile"},
    {array::Lane::dma_activations, "DMA activations", "activations", "request"},
    {array::Lane::dma_outputs, "DMA outputs", "outputs", "block"},
    {array::Lane::array_load, "weight load", "load", "tile"},
    {array::Lane::array_stream, "stream", "stream", "tile"},
    {array::Lane::activation_unit, "activation unit", "drain", "block"},
}};

const LaneText& text_of(array::Lane lane) {
  return kLanes[static_cast<std::size_t>(lane)];
}

int first_thread(array::Lane lane) {
  return (static_cast<int>(lane) + 1) * kThreadsPerLane;
}

bool is_dma(array::Lane lane) {
  return lane == array::Lane::dma_weights || lane == array::Lane::dma_activations ||
         lane == array::Lane::dma_outputs;
}

// One event to a line: large files stay readable, and viewers do not care.
class TraceText {
 public:
  void add(const nlohmann::ordered_json& event) {
    text_ += fmt::format("{}{}", text_.empty() ? "" : ",\n", event.dump());
  }
  std::string finish() const {
    return fmt::format("{{\"displayTimeUnit\": \"ns\", \"traceEvents\": [\n{}\n]}}\n", text_);
  }

 private:
  std::string text_;
};

nlohmann::ordered_json name_event(const char* what, int thread, const std::string& name) {
  return {{"name", what}, {"ph", "M"}, {"pid", kProcess}, {"tid", thread}, {"args", {{"name", name}}}};
}

nlohmann::ordered_json order_event(int thread) {
  return {{"name", "thread_sort_index"},
          {"ph", "M"},
          {"pid", kProcess},
          {"tid", thread},
          {"args", {{"sort_index", thread}}}};
}

}  // namespace

TimelineWriter::TimelineWriter(double clock_mhz) : clock_mhz_(clock_mhz) {}

void TimelineWriter::begin_layer(const std::string& name) {
  if (open_) throw std::logic_error("timeline: a layer begins before the one before it has ended");
  open_ = true;
  launches_.push_back({name, now_, now_});
}

void TimelineWriter::operator()(const array::TimelineEvent& event) {
  if (!open_) throw std::logic_error("timeline: an event outside of any layer");
  Placed placed{event, launches_.size() - 1};
  placed.event.begin += now_;
  placed.event.end += now_;
  events_.push_back(placed);
}

void TimelineWriter::end_layer(std::int64_t cycles) {
  if (!open_) throw std::logic_error("timeline: a layer ends that has not begun");
  open_ = false;
  now_ += cycles;
  launches_.back().end = now_;
}

void TimelineWriter::finish(const std::filesystem::path& file, const std::string& chip) const {
  TraceText trace;
  trace.add(name_event("process_name", kLayersThread, chip));
  trace.add(name_event("thread_name", kLayersThread, "layers"));
  trace.add(order_event(kLayersThread));
  const auto us = [&](std::int64_t cycles) { return static_cast<double>(cycles) / clock_mhz_; };
  const auto slice = [&](const std::string& name, const std::string& category, int thread, std::int64_t begin,
                         std::int64_t end) {
    return nlohmann::ordered_json{{"name", name},
                                  {"cat", category},
                                  {"ph", "X"},
                                  {"pid", kProcess},
                                  {"tid", thread},
                                  {"ts", us(begin)},
                                  {"dur", us(end - begin)},
                                  {"args", {{"begin_cycle", begin}, {"cycles", end - begin}}}};
  };
  for (const Launch& launch : launches_)
    if (launch.end > launch.begin)
      trace.add(slice(launch.name, launch.name, kLayersThread, launch.begin, launch.end));

  std::vector<Placed> sorted = events_;
  std::ranges::stable_sort(sorted, [](const Placed& a, const Placed& b) {
    return std::tie(a.event.lane, a.event.begin, a.event.end) <
           std::tie(b.event.lane, b.event.begin, b.event.end);
  });
  // Slices of a thread must not overlap: each goes to the first of its lane's threads that is free.
  std::map<array::Lane, std::vector<std::int64_t>> free_from;
  for (const Placed& placed : sorted) {
    const array::TimelineEvent& event = placed.event;
    const LaneText& lane = text_of(event.lane);
    std::vector<std::int64_t>& threads = free_from[event.lane];
    std::size_t row = 0;
    while (row < threads.size() && threads[row] > event.begin) ++row;
    const int thread = first_thread(event.lane) + static_cast<int>(row);
    if (row == threads.size()) {
      threads.push_back(0);
      trace.add(name_event("thread_name", thread,
                           row == 0 ? lane.name : fmt::format("{} ({})", lane.name, row + 1)));
      trace.add(order_event(thread));
    }
    threads[row] = event.end;
    const Launch& launch = launches_[placed.layer];
    auto json =
        slice(fmt::format("{} {}", lane.slice, event.index), launch.name, thread, event.begin, event.end);
    json["args"]["layer"] = launch.name;
    json["args"][lane.index] = event.index;
    if (is_dma(event.lane)) json["args"]["bytes"] = event.bytes;
    trace.add(json);
  }
  common::write_file_atomic(file, trace.finish());
}

}  // namespace kintsugi::sim

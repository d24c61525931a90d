// Timing errors and random flips of psums at the pe fidelity: every PE asks in each of its clocked cycles,
// and the model is asked about that cycle alone.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <tuple>
#include <vector>

#include "array/tile_feed.h"
#include "array/timed_job.h"
#include "faults/array_faults.h"
#include "pe/pe.h"

namespace kintsugi::array {

// Of one job, which must outlive it.
class PeErrors {
 public:
  PeErrors(TimedJob& job, const TileFeed& feed, const faults::ArrayFaults& faults);

  // Of a PE, row-major.
  pe::CycleErrors* of(std::size_t pe) { return &cells_[pe]; }

 private:
  struct Cell final : pe::CycleErrors {
    pe::Upset upset(const pe::PeInputs& before, const pe::PeInputs& now, std::int64_t stream,
                    std::int64_t position, bool in_stream, bool drop, bool& late) override;
    PeErrors* all = nullptr;
    int row = 0, col = 0;
    int risk = -1, bin = 0;  // −1: never late
  };

  TimedJob& job_;
  std::vector<Cell> cells_;
  std::map<std::tuple<std::int64_t, std::int64_t, int, int>, std::uint32_t> flips_;  // tile, position, PE
};

}  // namespace kintsugi::array

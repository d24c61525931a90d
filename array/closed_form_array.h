// The array's own time in closed form, around a memory system that makes it wait: a load takes R cycles, a
// stream of M is fed in M cycles and out R + C − 2 later (array/schedule.h). The functional fidelity and the
// calendar run on it; the clocked arrays have sequencers of their own.
//
// Knows no clock: its owner calls it in the cycles in which something may have changed, in their order, first
// finish() and, when everything else that ends with that cycle has been told, decide(). Between two calls
// nothing changes, so the cycles between them are all counted alike.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>

#include "array/layer_cost.h"
#include "array/layer_plan.h"
#include "array/tile_supply.h"
#include "configs/chip.h"

namespace kintsugi::array {

class ClosedFormArray {
 public:
  explicit ClosedFormArray(const configs::ArrayConfig& array);

  // Both must stay until done().
  void begin(const LayerPlan& plan, TileSupply& supply, std::int64_t cycle);
  // Ends what is over by this cycle.
  void finish(std::int64_t cycle);
  // Begins what may begin in this cycle.
  void decide(std::int64_t cycle);
  // The next cycle in which something ends, or may begin for a reason that is known already.
  std::optional<std::int64_t> next_cycle(std::int64_t cycle) const;
  // All results are out.
  bool done() const { return streams_out_ == plan_->tiles(); }
  // The cycles before the last decide(). Afterwards the owner counts on.
  const CycleBreakdown& counts() const { return counts_; }

 private:
  std::int64_t& state(std::int64_t cycle);

  int rows_, cols_;
  bool double_buffer_;
  const LayerPlan* plan_ = nullptr;
  TileSupply* supply_ = nullptr;

  bool loading_ = false, weights_ready_ = false, feeding_ = false;
  std::int64_t loads_begun_ = 0, streams_begun_ = 0, streams_out_ = 0;
  std::int64_t load_end_ = 0, fed_ = 0;
  std::deque<std::int64_t> out_;  // of the streams on their way
  CycleBreakdown counts_;
  std::int64_t* counted_ = nullptr;  // where the cycles since `since_` go
  std::int64_t since_ = 0;
};

}  // namespace kintsugi::array

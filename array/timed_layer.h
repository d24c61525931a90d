// A job with timing errors at the functional fidelity: its columns with PEs at risk (those that are swept),
// tile by tile in the order of execution, each tile a stream of positions and the idle cycles after it.
//
// What PEs computed with last is carried from block to block and from tile to tile; memory is bounded by the
// block, however long a stream is. Columns are shared out among the threads.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "array/layer_context.h"
#include "array/timed_job.h"
#include "array/timed_plan.h"
#include "array/timed_sweep.h"
#include "array/token_block.h"

namespace kintsugi::array {

class TimedLayer {
 public:
  // All must outlive it. `bypass`: by PE.
  TimedLayer(const LayerContext& context, const std::vector<std::uint8_t>& bypass, const TimedPlan& plan,
             ScratchPool<TimedSweep>& scratch);

  // Computes the accumulators of the columns that are swept; those of all others must stand there already,
  // and what random flips of psums change in them is added.
  void run(TimedJob& job);

 private:
  void run_block(TimedJob& job, const TileFeed& feed, TokenBlock& block);
  void take_flips(TimedJob::PsumFlips& source, TimedJob& job, const TileFeed& feed, const TokenBlock& block);
  // What the flips change in a column that is not timed, for one position.
  std::int32_t change(const TileFeed& feed, const TokenBlock& block, const TimedColumn& column,
                      std::span<const PsumFlip> flips) const;

  const LayerContext& context_;
  const std::vector<std::uint8_t>& bypass_;
  const TimedPlan& plan_;
  ScratchPool<TimedSweep>& scratch_;
  std::vector<pe::PeInputs> before_;          // by PE at risk
  std::vector<const TimedColumn*> swept_;     // by column
  std::vector<std::vector<PsumFlip>> flips_;  // of the block, by column
  std::vector<PsumFlip> drawn_;
};

}  // namespace kintsugi::array

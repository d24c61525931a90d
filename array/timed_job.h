// One job on a chip with timing errors (faults/chip_timing.h): what is the same at every fidelity.
//
// Its operands as random bit errors left them, the random errors of its partial sums and results, the key
// from which models draw, and what the errors did, counted. Engines read and count; they may not share one.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "array/accelerator.h"
#include "array/layer_shape.h"
#include "array/tile_feed.h"
#include "configs/chip.h"
#include "faults/chip_timing.h"
#include "faults/random_errors.h"

namespace kintsugi::array {

// Throws std::invalid_argument if `timing` is not one for this array: its size, the model's
// accumulator_bits, PEs that are not there, not in order or named twice, rates outside 0 … 1.
void check_timing(const faults::ChipTiming& timing, const configs::ArrayConfig& array);

// Bits that flip as PE (row, col) writes position `position` of a stream into its psum register.
struct PsumFlip {
  std::int64_t position = 0;
  int row = 0, col = 0;
  std::uint32_t mask = 0;
};

class TimedJob {
 public:
  // `timing` must have passed check_timing(), `job` stay valid. The job's key is a hash of the seed and of
  // the operands' contents.
  TimedJob(std::shared_ptr<const faults::ChipTiming> timing, const configs::ArrayConfig& array,
           const LayerJob& job, const Tiling& tiling);

  const faults::ChipTiming& timing() const { return *timing_; }
  const std::shared_ptr<const faults::ChipTiming>& shared_timing() const { return timing_; }
  // With operands as the errors left them; accumulators as given.
  const LayerJob& job() const { return job_; }
  const Tiling& tiling() const { return tiling_; }
  std::uint64_t key() const { return key_; }

  // Of the stream of a tile (numbered in the order of execution), sorted by (position, row, col), rows beyond
  // those in use included. Positions from `begin` on are drawn as asked for: calls for one tile must go on
  // where the one before ended.
  class PsumFlips {
   public:
    PsumFlips(const TimedJob& job, std::int64_t tile);
    // Appends those of positions below `end`, and counts their bits.
    void take(std::int64_t end, std::vector<PsumFlip>& out, std::int64_t& bits);

   private:
    int rows_, accumulator_bits_;
    std::int64_t columns_;
    faults::FlippedBits flipped_;
  };
  bool flips_psums() const { return timing_->random.psum_rate > 0; }

  // All counts, late words added up.
  TimingCounts counted() const;

  // To the results of positions `m` and of columns `columns` of the accumulators, when they are done: once.
  void flip_outputs(const Range& m, const Range& columns);

  // For engines: dropped products and flipped bits of psums are counted in `counts`, late words by PE.
  TimingCounts counts;
  std::vector<std::int64_t> late_words;  // by PE of at_risk

 private:
  void flip_operand(std::span<const std::int8_t> values, double rate, const char* purpose,
                    std::vector<std::int8_t>& copy);

  std::shared_ptr<const faults::ChipTiming> timing_;
  configs::ArrayConfig array_;
  LayerJob job_;
  Tiling tiling_;
  TileFeed feed_;
  std::uint64_t key_ = 0;
  std::vector<std::int8_t> activations_, weights_;  // copies, if any bit flipped
  std::vector<faults::FlippedValue> output_flips_;
};

}  // namespace kintsugi::array

// Timing errors and random flips of psums at the cycle fidelity: what they change in one cycle of the machine
// (array/cycle_array.h).
//
// The machine steps all PEs as if nothing went wrong. Before that, note() looks at what the PEs at risk
// compute with in this cycle, asks the model bin by bin, and works out what the PEs in which something goes
// wrong write; afterwards the machine puts these psums in place of the others.
#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "array/pe_cycle_batch.h"
#include "array/tile_feed.h"
#include "array/timed_job.h"
#include "faults/array_faults.h"
#include "pe/datapath.h"

namespace kintsugi::array {

// What entered the array's corner in a cycle.
struct EdgeToken {
  int clocked = 0;  // columns; 0: the cycle is gated
  bool in_stream = false;
  std::int64_t stream = 0, position = 0;
};

class CycleTiming {
 public:
  // What a PE computes with in the cycle at hand.
  class Inputs {
   public:
    virtual ~Inputs() = default;
    virtual pe::PeInputs of(int row, int col) const = 0;
  };
  struct Written {
    int row = 0, col = 0;
    std::int32_t psum = 0;
  };

  // All must outlive it. The machine's cycles count from the job's start.
  CycleTiming(TimedJob& job, const TileFeed& feed, const faults::ArrayFaults& faults, int accumulator_bits);

  // The token that enters in this cycle; one a cycle.
  void enter(const EdgeToken& token);
  // After enter(): what PEs write otherwise than a PE with no more than its faults does.
  const std::vector<Written>& note(const Inputs& inputs);

 private:
  struct Risky {
    int row = 0, col = 0;
    std::size_t risk = 0;
    int bin = 0;
    pe::PeInputs before;
  };
  const EdgeToken& met_by(int row, int col) const {
    return tokens_[static_cast<std::size_t>((cycle_ - row - col) % std::ssize(tokens_))];
  }
  int pe(int row, int col) const { return row * faults_.cols + col; }
  void evaluate_bins(const Inputs& inputs);

  TimedJob& job_;
  const TileFeed& feed_;
  const faults::ArrayFaults& faults_;
  int accumulator_bits_;
  std::int64_t cycle_ = -1;
  std::vector<EdgeToken> tokens_;                               // by cycle of entry, modulo the longest way
  std::vector<Risky> risky_;                                    // by bin
  std::map<std::int64_t, std::map<int, std::uint32_t>> flips_;  // by cycle and PE
  std::vector<int> dropping_, late_;                            // PEs, in this cycle; in the next
  std::map<int, pe::Upset> upsets_;                             // by PE
  std::vector<Written> written_;
  // Scratch of a bin.
  std::vector<std::size_t> lanes_;
  PeCycleBatch batch_;
  std::vector<std::uint32_t> errors_;
};

}  // namespace kintsugi::array

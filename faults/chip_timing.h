// Timing errors of one chip at one operating point: what an engine loads beside the permanent faults.
//
// A PE's psum flip-flops capture whatever stands at their inputs when the clock rises. At too short a period
// that depends on what the PE computed with in its previous clocked cycle and on what it computes with now.
// The error of a cycle is the difference (exclusive or) between what the adder's flip-flops capture and what
// they would after settling; pe/datapath.h says where it enters. A bypassed PE takes psum_in and has none.
//
// What counts as a PE's previous cycle (docs/timing-errors.md):
// - START resets the array: registers and active weights are zero and everything has settled, with zeros at
//   the edges (so a stuck bit already acts). Until the first stream begins it stays so: no PE is clocked.
// - Between streams of a job the edges inject zeros and the active weight stays; these idle cycles are cycles
//   like any other, with errors, and what they leave in the registers is what the next cycle starts from.
// - A stalled array is clock-gated, so that a stall is no cycle. With double-buffered weights, of the cycles
//   between two streams the first max(0, R − M) are idle (as many as with ideal memory, M being the length of
//   the earlier stream), and further ones are gated. Without, draining and loading cycles are idle, and those
//   in which the sequencer waits for the memory system are gated.
// - A change of weight is a change of input like any other.
// - Columns that a tile does not use are clock-gated from the beginning of its stream to that of the next.
// - What comes after the last position of a job's last stream does not count.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace kintsugi::faults {

// Cycles of PEs, side by side: what the PE computes with in the cycle before, and in this one. Weights are as
// the multiplier sees them (after the weight register's hook).
struct PeCycles {
  std::size_t count = 0;
  const std::int8_t* activation_before = nullptr;
  const std::int8_t* activation = nullptr;
  const std::int8_t* weight_before = nullptr;
  const std::int8_t* weight = nullptr;
  const std::int32_t* psum_before = nullptr;
  const std::int32_t* psum = nullptr;
  // Names the cycle within its job, for models that draw random numbers: cycle_key(). Null for models that do
  // not need it.
  const std::uint64_t* key = nullptr;
};

// `stream` numbers the tiles of the job in the order of execution. Idle cycles after a stream count on from
// its last position.
constexpr std::uint64_t cycle_key(std::int64_t stream, std::int64_t position, int row, int col) {
  std::uint64_t key = static_cast<std::uint64_t>(stream) * 0x9E3779B97F4A7C15U;
  key = (key ^ static_cast<std::uint64_t>(position)) * 0xBF58476D1CE4E5B9U;
  key =
      (key ^ (static_cast<std::uint64_t>(row) << 16 | static_cast<std::uint64_t>(col))) * 0x94D049BB133111EBU;
  return key ^ key >> 31;
}

// What PEs capture. Implementations: NetlistModel, TableModel. Immutable; may be asked by several threads.
class TimingModel {
 public:
  virtual ~TimingModel() = default;
  // errors[i] = captured xor settled of cycle i, the low accumulator_bits, for PEs of delay bin `bin`. Each
  // depends on its own cycle (and job_key) only, not on its neighbours or the number of them. Large counts
  // are much cheaper a cycle than small ones.
  virtual void evaluate(int bin, std::uint64_t job_key, const PeCycles& cycles,
                        std::uint32_t* errors) const = 0;
  // Whether equal inputs in both cycles can err: a netlist's cannot.
  virtual bool settled_can_err() const { return false; }
  virtual bool needs_keys() const { return false; }
  virtual int accumulator_bits() const = 0;
};

// A PE that may be late at the operating point, with the bin of delays that it falls into.
struct RiskyPe {
  int row = 0;
  int col = 0;
  int bin = 0;
};

// What the array does about late psums. te_drop (ThUnderVolt, Zhang et al., DAC 2018): a shadow flip-flop
// notices; the late PE's right value goes on, and the PE below drops its own product in the cycle in which
// it takes that value: it passes psum_in on as if bypassed, and cannot be late itself in that cycle.
enum class Mitigation { none, te_drop };

// Random bit errors (the injection of Xu et al., ASAP 2019): every bit of every value flips with this
// probability. Activations and weights as a layer's operands lie in memory, outputs as its accumulators are
// when it is done; psums as PEs write them into their registers at stream positions (not in idle cycles),
// bypassed PEs too. Drawn by skipping ahead geometrically, so that a rare error costs nothing.
struct RandomErrors {
  double activation_rate = 0;
  double weight_rate = 0;
  double psum_rate = 0;
  double output_rate = 0;
  bool any() const { return activation_rate > 0 || weight_rate > 0 || psum_rate > 0 || output_rate > 0; }
};

// All that an engine needs. Every model's random numbers depend on `seed` and the job's contents only: the
// same layer on the same operands errs the same way wherever and whenever it runs.
struct ChipTiming {
  int rows = 0;
  int cols = 0;
  std::vector<RiskyPe> at_risk;              // sorted by (row, col), one entry per PE; may name bypassed PEs
  std::shared_ptr<const TimingModel> model;  // null if at_risk is empty
  Mitigation mitigation = Mitigation::none;
  RandomErrors random;
  std::uint64_t seed = 1;

  bool harmless() const { return at_risk.empty() && !random.any(); }
};

}  // namespace kintsugi::faults

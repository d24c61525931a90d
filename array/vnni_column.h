// A column with many live faults, with AVX-512 VNNI: its chain as a list of equal steps, run without
// branches.
//
// Where faults are dense, a processor cannot foresee which of its events comes next, and each surprise costs
// more than the event. Here every step does all there is: an offset, one vpdpbusd of a quad, a mask, and for
// products
// (`fresh` steps) the old sum added back instead of carried through. A clean quad is a step with an empty
// mask.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "array/fault_plan.h"

namespace kintsugi::array {

inline constexpr std::int64_t kColumnPositions = 256;  // stream positions worked on together
inline constexpr int kSegmentQuads = 32;

class ColumnProgram {
 public:
  // effective: the column's effective weights of the tile, all rows of the array; `used` rows hold weights.
  void build(const FaultPlan& plan, int column, std::int64_t used, std::span<const std::int8_t> effective);

  // One segment of the rows. quads: one block of a QuadBlock of kColumnPositions. sums: kColumnPositions of
  // them between segments, from zero in the first.
  void run(const std::int32_t* quads, int segment, std::int32_t* sums) const;

  std::int64_t steps() const { return static_cast<std::int64_t>(steps_.size()); }
  std::int64_t events() const { return events_; }
  std::size_t bytes() const { return steps_.size() * sizeof(Step) + sizeof *this; }

 private:
  enum class Kind { clean, sums, products };
  struct Step {
    std::int32_t quad;    // words from the block's first; bit 0: a fresh step
    std::int32_t weight;  // four bytes
    std::uint32_t keep, flip;
    std::int32_t offset;  // added first: −128·Σw
  };
  template <Kind kind>
  void run_steps(const std::int32_t* quads, std::span<const Step> steps, bool first,
                 std::int32_t* sums) const;

  Kind kind_ = Kind::clean;
  std::int64_t events_ = 0;
  std::vector<Step> steps_;
  std::vector<std::uint32_t> segments_;  // where each begins; and the end
};

}  // namespace kintsugi::array

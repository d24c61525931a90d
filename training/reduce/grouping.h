// Grouping and fusion of fault maps (eFAT, Hanif and Shafique, arXiv 2304.12949): one network for several
// chips, retrained once with all PEs pruned that any of them bypasses, where that is cheaper than once for
// each chip.
//
// A weight of zero on a healthy PE computes what a bypassed PE computes, so the fused network gives the same
// bits on each of its chips. Pure decisions; costs are in steps of retraining.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

namespace kintsugi::training::reduce {

// A chip that is to be retrained.
struct GroupCandidate {
  std::vector<std::uint64_t> bypassed;  // a bit a PE, see packed_bits(); of the same length for all
  std::int64_t steps = 0;               // planned for it alone; a fused network gets no less
  double cost = 0;                      // of it alone
};

// 0/1 bytes as bits, the first in the lowest bit of the first word.
std::vector<std::uint64_t> packed_bits(std::span<const std::uint8_t> bytes);

// What a network costs that is fused around so many bypassed PEs.
struct FusedCost {
  std::int64_t steps = 0;
  double beside = 0;  // repair and checks that it takes once more
};
// Nothing: no network of so many bypassed PEs is to be hoped for. Must not fall with the number, nor come
// back once there was nothing.
using FusedCostOf = std::function<std::optional<FusedCost>(std::int64_t bypassed_pes)>;

struct GroupOptions {
  std::int64_t max_chips = 8;
  // Chips are looked at in parts of this many, in their order, and grouped within a part only: memory and
  // time go by the square of it.
  std::size_t part = 1000;
};

struct FusedGroup {
  std::vector<std::size_t> members;  // indices of candidates, ascending; two at least
  std::int64_t bypassed_pes = 0;     // of the union
  std::int64_t steps = 0;
  double saving = 0;  // members' costs alone − the group's
};

// Merges greedily, the pair of groups with the largest gain first,
//   gain = cost(a) + cost(b) − cost(a ∪ b),
// as long as it is a step at least; of equal gains the one with the lowest indices. A candidate that is in no
// group is better left alone. Groups come in order of their first members. For n candidates in a part at
// most n² unions are counted (about 0.4 µs each on 256×256 PEs), fewer where a bound already says no.
std::vector<FusedGroup> group_chips(std::span<const GroupCandidate> candidates, const FusedCostOf& cost_of,
                                    const GroupOptions& options);

}  // namespace kintsugi::training::reduce

// Which amounts of a chip's retraining have to be looked at, and policy `adaptive`: start with the planned
// amount, check on the decision images, and go on to the next evaluated amount as long as that fails.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "training/reduce/constraint.h"

namespace kintsugi::training::reduce {

// Amounts that are tried one after the other until one is enough; ascending, not empty.
struct Ladder {
  std::vector<std::int64_t> amounts;
  configs::Extend extend = configs::Extend::estimate;
};

// `start`, and those of the `evaluated` amounts (ascending) that are larger.
Ladder ladder_from(std::int64_t start, const std::vector<std::int64_t>& evaluated, configs::Extend extend);

// What is known of an amount: its score on the decision images; null if it was not looked at.
using ScoreAt = std::function<const Score*(std::int64_t steps)>;

struct Climb {
  std::int64_t reached = 0;             // the amount that was enough, or the last one
  std::vector<std::int64_t> tried;      // up to and with it
  std::optional<std::int64_t> missing;  // the first amount that is still to be looked at; then reached is not
                                        // known yet
};
Climb climb(const Ladder& ladder, const ScoreAt& score_at, const Constraint& constraint);

// Everything that is to be looked at.
struct Wanted {
  std::vector<std::int64_t> marks;  // in any case
  std::vector<Ladder> ladders;
  bool empty() const { return marks.empty() && ladders.empty(); }
};
// The smallest amount that is still to be looked at; nothing: all done.
std::optional<std::int64_t> next_amount(const Wanted& wanted, const ScoreAt& score_at,
                                        const Constraint& constraint);

// Steps that trying these amounts takes: one run passes through all of them if the learning rate is constant;
// otherwise each is a run of its own.
std::int64_t steps_spent(const std::vector<std::int64_t>& tried, configs::ScheduleKind schedule);

}  // namespace kintsugi::training::reduce

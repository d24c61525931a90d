#include "training/reduce/adaptive.h"

#include <algorithm>
#include <numeric>

namespace kintsugi::training::reduce {

Ladder ladder_from(std::int64_t start, const std::vector<std::int64_t>& evaluated, configs::Extend extend) {
  Ladder ladder{{start}, extend};
  for (const std::int64_t amount : evaluated)
    if (amount > start) ladder.amounts.push_back(amount);
  return ladder;
}

Climb climb(const Ladder& ladder, const ScoreAt& score_at, const Constraint& constraint) {
  Climb result;
  for (const std::int64_t amount : ladder.amounts) {
    const Score* score = score_at(amount);
    if (score == nullptr) {
      result.missing = amount;
      return result;
    }
    result.reached = amount;
    result.tried.push_back(amount);
    const bool enough = ladder.extend == configs::Extend::interval ? constraint.judge(*score) == Outcome::pass
                                                                   : constraint.met(*score);
    if (enough) break;
  }
  return result;
}

std::optional<std::int64_t> next_amount(const Wanted& wanted, const ScoreAt& score_at,
                                        const Constraint& constraint) {
  std::optional<std::int64_t> next;
  const auto offer = [&](std::int64_t amount) { next = next ? std::min(*next, amount) : amount; };
  for (const std::int64_t mark : wanted.marks)
    if (score_at(mark) == nullptr) offer(mark);
  for (const Ladder& ladder : wanted.ladders)
    if (const auto missing = climb(ladder, score_at, constraint).missing) offer(*missing);
  return next;
}

std::int64_t steps_spent(const std::vector<std::int64_t>& tried, configs::ScheduleKind schedule) {
  if (tried.empty()) return 0;
  if (schedule == configs::ScheduleKind::constant) return tried.back();
  return std::accumulate(tried.begin(), tried.end(), std::int64_t{0});
}

}  // namespace kintsugi::training::reduce

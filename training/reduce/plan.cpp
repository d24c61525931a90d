#include "training/reduce/plan.h"

#include <fmt/format.h>

namespace kintsugi::training::reduce {

std::string to_string(Verdict verdict) {
  switch (verdict) {
    case Verdict::ship:
      return "ship";
    case Verdict::repair:
      return "repair";
    case Verdict::retrain:
      return "retrain";
    case Verdict::reject:
      return "reject";
  }
  return "";
}

ChipPlan decide_chip(const ChipFacts& facts, const Envelope& envelope, const Constraint& constraint,
                     configs::PolicyName policy, std::int64_t least_steps, std::int64_t steps_per_epoch) {
  ChipPlan plan;
  plan.facts = facts;
  const ChipAmount amount = envelope.at(facts.fault_rate);
  plan.reason = amount.reason;
  const Score& start = facts.repaired ? *facts.repaired : facts.before;
  if (constraint.judge(facts.before) == Outcome::pass) {
    plan.verdict = Verdict::ship;
    plan.reason = "accuracy before retraining meets the constraint beyond its 95 % interval";
  } else if (facts.repaired && constraint.judge(start) == Outcome::pass) {
    plan.verdict = Verdict::repair;
    plan.reason = "accuracy after repair meets the constraint beyond its 95 % interval";
  } else if (!amount.steps) {
    plan.verdict = Verdict::reject;
  } else if (*amount.steps > 0) {
    plan.verdict = Verdict::retrain;
    plan.planned_steps = *amount.steps;
  } else if (constraint.met(start) || policy == configs::PolicyName::fixed) {
    plan.verdict = facts.repaired ? Verdict::repair : Verdict::ship;
    plan.reason += ": no retraining needed";
  } else {
    plan.verdict = Verdict::retrain;
    plan.planned_steps = least_steps;
    plan.reason += " is 0 steps, but this chip measurably misses the constraint: the least evaluated amount";
  }
  if (plan.verdict == Verdict::retrain && facts.live_faults > 0)
    plan.reason += fmt::format(
        "; {} faulty PE{} in spite of the bypass, and resilience was characterised without such faults: the "
        "amount is a guess, judge by the reached accuracy",
        facts.live_faults, facts.live_faults == 1 ? " acts" : "s act");
  plan.planned_epochs = static_cast<double>(plan.planned_steps) / static_cast<double>(steps_per_epoch);
  return plan;
}

}  // namespace kintsugi::training::reduce

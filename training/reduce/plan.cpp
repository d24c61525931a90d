#include "training/reduce/plan.h"

#include <fmt/format.h>

#include <stdexcept>

#include "common/diagnostics.h"

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

double predictor_value(const ChipFacts& facts, configs::Predictor predictor) {
  if (predictor == configs::Predictor::fault_rate) return facts.fault_rate;
  if (!facts.predictors)
    throw common::InputError(
        fmt::format("the {} of chip '{}' was not measured; run 'kintsugi reduce plan' again",
                    to_string(predictor), facts.id));
  switch (predictor) {
    case configs::Predictor::mapped_fault_rate:
      return facts.predictors->mapped_fault_rate;
    case configs::Predictor::pruned_saliency:
      return facts.predictors->pruned_saliency;
    default:
      return facts.predictors->loss;
  }
}

Interval measured_accuracy(const Constraint& constraint, const Score& score) {
  const Interval measured = constraint.measured(score);
  const double shift = score.accuracy() - measured.estimate;
  return {score.accuracy(), measured.low + shift, measured.high + shift};
}

ChipPlan decide_chip(const ChipFacts& facts, const Envelope& envelope, const Constraint& constraint,
                     const PlanRules& rules) {
  using enum configs::PolicyName;
  const configs::PolicyConfig& policy = rules.policy;
  ChipPlan plan;
  plan.facts = facts;
  ChipAmount amount = envelope.at(policy.name == fixed ? 0 : predictor_value(facts, policy.predictor));
  plan.reason = amount.reason;
  if (amount.steps && policy.name == quantile) {
    if (rules.calibration == nullptr) throw std::logic_error("policy quantile without its calibration");
    const Calibration& calibration = *rules.calibration;
    amount.steps = guaranteed_amount(*amount.steps, calibration, rules.evaluated);
    plan.reason +=
        calibration.bound
            ? fmt::format(", {:+} steps by calibration, at the next evaluated amount", *calibration.bound)
            : ": the largest evaluated one, since nothing can be guaranteed";
  }
  if (amount.steps && policy.name == adaptive)
    amount.steps = snap_up(*amount.steps, rules.evaluated).value_or(rules.evaluated.back());
  const std::optional<Score>& start = facts.repaired ? facts.repaired : facts.before;
  const bool enough = !start || (policy.name == adaptive && policy.extend == configs::Extend::interval
                                     ? constraint.judge(*start) == Outcome::pass
                                     : constraint.met(*start));
  if (facts.before && constraint.judge(*facts.before) == Outcome::pass) {
    plan.verdict = Verdict::ship;
    plan.reason = "accuracy before retraining meets the constraint beyond its 95 % interval";
  } else if (facts.dropped && !facts.dropped->problem.empty()) {
    plan.verdict = Verdict::reject;
    plan.reason = facts.dropped->problem;
  } else if (facts.repaired && constraint.judge(*start) == Outcome::pass) {
    plan.verdict = Verdict::repair;
    plan.reason = "accuracy after repair meets the constraint beyond its 95 % interval";
  } else if (!amount.steps && facts.repaired && constraint.met(*start)) {
    // No amount is known to help chips like it, and this one was measured not to need any.
    plan.verdict = Verdict::repair;
    plan.reason = "accuracy after repair meets the constraint by its estimate; " + plan.reason;
  } else if (!amount.steps) {
    plan.verdict = Verdict::reject;
  } else if (*amount.steps > 0) {
    plan.verdict = Verdict::retrain;
    plan.planned_steps = *amount.steps;
  } else if (enough || policy.name == fixed) {
    // Of a chip that was not measured, 0 steps mean that the repair is enough.
    plan.verdict = facts.repaired || (!start && rules.repairs) ? Verdict::repair : Verdict::ship;
    plan.reason += ": no retraining needed";
  } else {
    plan.verdict = Verdict::retrain;
    plan.planned_steps = rules.evaluated.at(1);
    plan.reason += " is 0 steps, but this chip measurably misses the constraint: the least evaluated amount";
  }
  if (plan.verdict == Verdict::retrain && policy.name == adaptive)
    plan.reason +=
        fmt::format("; then more as long as it misses the constraint, {} at most", rules.evaluated.back());
  if (plan.verdict == Verdict::retrain && facts.live_faults > 0 && !rules.like_chips)
    plan.reason += fmt::format(
        "; {} faulty PE{} in spite of the bypass, and resilience was characterised without such faults: the "
        "amount is a guess, judge by the reached accuracy",
        facts.live_faults, facts.live_faults == 1 ? " acts" : "s act");
  if (plan.verdict == Verdict::ship && facts.before)
    plan.predicted = measured_accuracy(constraint, *facts.before);
  if (plan.verdict == Verdict::repair && start) plan.predicted = measured_accuracy(constraint, *start);
  plan.planned_epochs = static_cast<double>(plan.planned_steps) / static_cast<double>(rules.steps_per_epoch);
  return plan;
}

}  // namespace kintsugi::training::reduce

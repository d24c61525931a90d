#include "training/reduce/planner.h"

namespace kintsugi::training::reduce {
namespace {

double value_of(const Experience& experience, configs::Predictor predictor) {
  ChipFacts facts;
  facts.fault_rate = experience.fault_rate;
  facts.predictors = experience.predictors;
  return predictor_value(facts, predictor);
}

Envelope envelope_of(const PlanningData& data, const configs::PolicyConfig& policy) {
  if (policy.predictor == configs::Predictor::fault_rate) return {data.rates, policy};
  std::vector<MapNeed> maps;
  for (const Experience& map : data.maps) maps.push_back({value_of(map, policy.predictor), map.needed});
  return {std::move(maps), policy};
}

Forecast forecast_of(const PlanningData& data, const configs::PolicyConfig& policy) {
  std::vector<AccuracyRun> runs;
  for (const Experience& map : data.maps)
    runs.push_back({map.fault_rate, value_of(map, policy.predictor), map.accuracy});
  return {std::move(runs), policy.predictor, data.repeats};
}

}  // namespace

Planner::Planner(const PlanningData& data, const Constraint& constraint, const configs::PolicyConfig& policy)
    : constraint_(constraint),
      rules_{policy, data.evaluated, data.steps_per_epoch, nullptr, data.like_chips, data.repairs},
      envelope_(envelope_of(data, policy)),
      forecast_(forecast_of(data, policy)) {
  if (policy.name != configs::PolicyName::quantile) return;
  std::vector<CalibrationChip> chips;
  for (const Experience& chip : data.calibration)
    chips.push_back({envelope_.at(value_of(chip, policy.predictor)).steps, chip.needed});
  calibration_ = calibrate(chips, {policy.coverage, policy.confidence}, data.calibration_source);
}

ChipPlan Planner::decide(const ChipFacts& facts) const {
  PlanRules rules = rules_;
  if (calibration_) rules.calibration = &*calibration_;
  ChipPlan plan = decide_chip(facts, envelope_, constraint_, rules);
  // A fixed amount is planned without looking at the chip; its rate still says what to expect.
  if (plan.verdict == Verdict::retrain)
    plan.predicted = forecast_.at(predictor_value(facts, rules_.policy.predictor), plan.planned_steps);
  return plan;
}

std::optional<std::int64_t> Planner::fused_amount(double fault_rate) const {
  const std::optional<std::int64_t> steps = envelope_.at(fault_rate).steps;
  if (!steps || rules_.policy.name != configs::PolicyName::adaptive) return steps;
  return snap_up(*steps, rules_.evaluated).value_or(rules_.evaluated.back());
}

}  // namespace kintsugi::training::reduce

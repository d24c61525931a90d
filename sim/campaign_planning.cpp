// What a campaign plans from: its characterised maps, the chips that calibrate it, and the policies over
// them.
#include <fmt/format.h>

#include <algorithm>
#include <memory>

#include "common/text.h"
#include "sim/campaign.h"

namespace kintsugi::sim {
namespace {

using common::format_number;
using common::InputError;

std::string policy_name(const configs::PolicyConfig& policy) {
  using enum configs::PolicyName;
  std::string name;
  switch (policy.name) {
    case max:
      name = "max";
      break;
    case mean:
      name = "mean";
      break;
    case fixed:
      return fmt::format("fixed {}", policy.steps);
    case quantile:
      name = "quantile";
      break;
    case adaptive:
      name = "adaptive";
      break;
  }
  if (policy.predictor == configs::Predictor::fault_rate) return name;
  return fmt::format("{} by {}", name, reduce::to_string(policy.predictor));
}

}  // namespace

std::string Campaign::name_of(const configs::PolicyConfig& policy) {
  return policy_name(policy);
}

Phase Campaign::calibrate_phase() const {
  Phase phase{folder_.root(), "calibrate", "steps"};
  for (const faults::FaultMap& map : inputs_.calibration)
    phase.add(
        {"calibration on " + map.chip,
         reduce::steps_spent(inputs_.config.characterize.evaluated(), inputs_.config.retrain.schedule.kind),
         map.chip, folder_.calibrate_task(map.chip)},
        folder_.read_calibrated(map.chip, inputs_.decision.size()).has_value());
  phase.start = [this]() -> RunTask {
    auto worker = std::make_shared<CampaignWorker>(inputs_, folder_, run_.threads, run_.checkpoint_seconds);
    return [this, worker](std::size_t task, const ReportSteps& progress) {
      worker->calibrate(inputs_.calibration[task], progress);
    };
  };
  return phase;
}

CharacterizedMap Campaign::need_characterized(double fault_rate, int repeat) const {
  auto map = folder_.read_characterized(fault_rate, repeat, inputs_.decision.size());
  if (!map)
    throw InputError(
        {folder_.root().string()},
        fmt::format("the characterisation is not complete (fault rate {}, repeat {} is missing); run "
                    "'kintsugi reduce characterize' with the same --campaign and --out first",
                    format_number(fault_rate), repeat));
  return std::move(*map);
}

CharacterizedMap Campaign::need_calibrated(const std::string& id) const {
  auto map = folder_.read_calibrated(id, inputs_.decision.size());
  if (!map)
    throw InputError({folder_.root().string()},
                     fmt::format("the calibration is not complete (chip {} is missing); run 'kintsugi reduce "
                                 "characterize' with the same --campaign and --out first",
                                 id));
  return std::move(*map);
}

reduce::Experience Campaign::experience(double fault_rate, const CharacterizedMap& map,
                                        reduce::Runs runs) const {
  const configs::CharacterizeConfig& config = inputs_.config.characterize;
  reduce::Experience result{fault_rate, map.predictors, {}, {}};
  std::vector<reduce::Evaluated> evaluated;
  for (const CharacterizedPoint& point : map.points) {
    evaluated.push_back({point.steps, constraint_.met(point.decision)});
    result.accuracy.push_back({point.steps, point.decision.accuracy()});
  }
  // A calibration chip that is delivered without retraining was looked at once.
  result.needed = reduce::needed_amount(evaluated, config.amount, config.max_steps, runs);
  return result;
}

reduce::PlanningData Campaign::planning_data() const {
  const configs::CharacterizeConfig& config = inputs_.config.characterize;
  reduce::PlanningData data;
  data.evaluated = config.evaluated();
  data.like_chips = config.maps == configs::CharacterizationMaps::like_chips;
  data.repeats = config.repeats;
  data.steps_per_epoch = inputs_.steps_per_epoch();
  data.repairs = inputs_.config.repair.any();
  data.calibration_source = inputs_.calibrates_on_lot ? "lot" : "sampled";
  const bool constant =
      inputs_.config.retrain.schedule.kind == configs::ScheduleKind::constant;  // one run for all amounts
  for (const double rate : config.fault_rates) {
    std::vector<reduce::Needed> needed;
    for (int repeat = 0; repeat < config.repeats; ++repeat) {
      data.maps.push_back(experience(rate, need_characterized(rate, repeat),
                                     constant ? reduce::Runs::one : reduce::Runs::each_amount));
      needed.push_back(data.maps.back().needed);
    }
    data.rates.push_back(reduce::summarize_rate(rate, needed));
  }
  for (const faults::FaultMap& map : inputs_.calibration)
    // A guarantee has to hold at whatever amount the chip is given, so none may do harm.
    data.calibration.push_back(experience(map.fault_rate(), need_calibrated(map.chip), reduce::Runs::one));
  return data;
}

std::vector<Campaign::Policy> Campaign::policies(const reduce::PlanningData& data) const {
  using enum configs::PolicyName;
  const configs::PolicyConfig& own = inputs_.config.policy;
  std::vector<Policy> all;
  const auto add = [&](const configs::PolicyConfig& policy) {
    const std::string name = policy_name(policy);
    if (std::none_of(all.begin(), all.end(), [&](const Policy& other) { return other.name == name; }))
      all.push_back({name, reduce::Planner(data, constraint_, policy)});
  };
  std::vector<configs::PolicyName> names{max, mean};
  if (inputs_.config.compare_policies) {
    names = *inputs_.config.compare_policies;
  } else {
    if (inputs_.config.calibration_chips) names.push_back(quantile);
    names.push_back(adaptive);
  }
  for (const configs::PolicyName name : names) {
    configs::PolicyConfig policy = own;
    policy.name = name;
    policy.steps = 0;
    // Reduce itself goes by fault rate, and is always there to be compared with.
    if (name == max || name == mean) {
      configs::PolicyConfig by_rate = policy;
      by_rate.predictor = configs::Predictor::fault_rate;
      add(by_rate);
    }
    add(policy);
  }
  if (own.name != fixed) add(own);
  std::vector<std::int64_t> amounts = inputs_.config.compare_fixed_steps.value_or(
      reduce::default_fixed_steps(reduce::Planner(data, constraint_, {max, 0}).top()));
  if (own.name == fixed) amounts.push_back(own.steps);
  std::sort(amounts.begin(), amounts.end());
  for (const std::int64_t steps : amounts) add({fixed, steps});
  return all;
}

Arithmetic Campaign::spent(const reduce::ChipPlan& chip, const std::vector<std::int64_t>& tried) const {
  const double check = reduce::forward_steps(inputs_.decision.size(), inputs_.config.retrain.batch);
  Arithmetic result;
  result.repair = chip.facts.repair_steps;
  result.checks = check * ((chip.facts.before ? 1 : 0) + (chip.facts.repaired ? 1 : 0));
  if (chip.verdict != reduce::Verdict::retrain) return result;  // nothing new to check
  result.checks += check * static_cast<double>(tried.size());
  result.retraining = reduce::steps_spent(tried, inputs_.config.retrain.schedule.kind);
  return result;
}

Arithmetic Campaign::spent(const CharacterizedMap& map) const {
  Arithmetic result;
  result.repair = map.repair_steps;
  result.checks = reduce::forward_steps(inputs_.decision.size(), inputs_.config.retrain.batch) *
                  static_cast<double>(map.points.size());
  result.retraining = map.steps_run;
  return result;
}

void Campaign::add_costs(CampaignReport& report) const {
  const configs::CharacterizeConfig& config = inputs_.config.characterize;
  for (const double rate : config.fault_rates)
    for (int repeat = 0; repeat < config.repeats; ++repeat) {
      const CharacterizedMap map = need_characterized(rate, repeat);
      report.characterization += spent(map);
      report.shared_repair_steps = std::max(report.shared_repair_steps, map.shared_repair_steps);
    }
  for (const faults::FaultMap& map : inputs_.calibration)
    report.calibration += spent(need_calibrated(map.chip));
  report.calibration_chips = std::ssize(inputs_.calibration);
}

std::optional<common::Seconds> Campaign::seconds(const reduce::ChipPlan& chip, const Reached& reached) const {
  const auto before = read_timings(folder_.root(), "before", chip.facts.id);
  if (!before) return std::nullopt;
  common::Seconds sum;
  for (const auto& [stage, time] : *before) sum += time.seconds;
  if (chip.verdict != reduce::Verdict::retrain) return sum;
  const auto after = read_timings(folder_.root(), "retrain", chip.facts.id);
  if (!after) return std::nullopt;
  const auto add = [&](const char* stage, double count) {
    const auto found = after->find(stage);
    if (found == after->end() || found->second.count == 0) return;
    const double share = count / static_cast<double>(found->second.count);
    sum += {share * found->second.seconds.cpu, share * found->second.seconds.wall};
  };
  add("retraining",
      static_cast<double>(reduce::steps_spent(reached.tried, inputs_.config.retrain.schedule.kind)));
  add("checks", static_cast<double>(reached.tried.size()));
  return sum;
}

}  // namespace kintsugi::sim

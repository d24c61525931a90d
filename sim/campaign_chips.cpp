// The steps of a campaign that deal with the lot's own chips: plan, retrain, compare.
#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <set>

#include "common/files.h"
#include "common/sha256.h"
#include "faults/fault_map_io.h"
#include "sim/campaign.h"
#include "sim/campaign_plots.h"
#include "sim/campaign_worker.h"
#include "training/reduce/plan_file.h"

namespace kintsugi::sim {
namespace {

using common::InputError;

// Whether a finished chip's amounts come from climbing a ladder.
bool climbs(const configs::PolicyConfig& policy, const reduce::ChipPlan& chip) {
  return policy.name == configs::PolicyName::adaptive && chip.verdict == reduce::Verdict::retrain;
}

}  // namespace

Phase Campaign::plan_phase() const {
  Phase phase{folder_.root(), "plan", "chips"};
  for (std::size_t i = 0; i < inputs_.chips.size() && inputs_.config.accuracy_check; ++i) {
    const std::string& id = inputs_.chips.id(i);
    phase.add({"accuracy of " + id + " before retraining", 1, id, folder_.before_task(id)},
              folder_.read_before(id, inputs_.decision.size()).has_value());
  }
  phase.start = [this]() -> RunTask {
    auto worker = std::make_shared<CampaignWorker>(inputs_, folder_, run_.threads, run_.checkpoint_seconds);
    return [this, worker](std::size_t task, const ReportSteps&) { worker->before(inputs_.chips[task]); };
  };
  return phase;
}

void Campaign::plan() {
  const Baseline baseline = need_baseline("decision", inputs_.decision.size());
  const reduce::Planner planner(planning_data(), constraint_, inputs_.config.policy);
  const std::int64_t images = inputs_.decision.size();
  // Thousands of files: made durable together, before the plan that names them.
  for (const faults::FaultMap& map : inputs_.chips) {
    const std::string text = faults::fault_map_yaml(map);
    const std::filesystem::path file = folder_.chip(map.chip) / "fault_map.yaml";
    if (!std::filesystem::exists(file) || common::read_file(file) != text)
      common::write_file_unsynced(file, text);
  }
  common::sync_files(folder_.root());
  run_phase([&] { return plan_phase(); }, run_);

  reduce::Plan plan;
  plan.network = inputs_.network.name;
  plan.weights_sha256 = baseline.weights_sha256;
  plan.dataset = inputs_.training.name;
  plan.decided_on = decided_on();
  plan.constraint = inputs_.config.constraint;
  plan.policy = inputs_.config.policy;
  plan.calibration = planner.calibration();
  plan.steps_per_epoch = inputs_.steps_per_epoch();
  plan.baseline = {images, reduce::count(baseline.int8), 0, 0};
  plan.accuracy_check = inputs_.config.accuracy_check;
  plan.check_before_repair = inputs_.config.check_before_repair;
  std::set<std::string> calibrating;
  if (plan.calibration && inputs_.calibrates_on_lot)
    for (const faults::FaultMap& map : inputs_.calibration) calibrating.insert(map.chip);
  for (std::size_t i = 0; i < inputs_.chips.size(); ++i) {
    const std::string& id = inputs_.chips.id(i);
    reduce::ChipFacts facts;
    if (plan.accuracy_check) {
      facts = folder_.read_before(id, images).value();
    } else {
      const faults::FaultMap map = inputs_.chips[i];
      facts = facts_of_map(inputs_, map, compile_for(inputs_, map));
    }
    facts.fault_map = fmt::format("chips/{}/fault_map.yaml", id);
    facts.fault_map_sha256 = inputs_.chip_sha256[i];
    plan.chips.push_back(planner.decide(facts));
    plan.chips.back().calibrated = calibrating.contains(id);
  }
  if (inputs_.config.group) plan.groups = make_groups(planner, plan.chips);
  common::write_file_atomic(folder_.plan(), reduce::plan_yaml(plan));
  say(fmt::format("\n{}", plan_table(plan, colours_)));
}

reduce::Plan Campaign::need_plan() const {
  if (!std::filesystem::exists(folder_.plan()))
    throw InputError(
        {folder_.root().string()},
        "there is no plan.yaml here yet; run 'kintsugi reduce plan' with the same --campaign and --out "
        "first");
  reduce::Plan plan = reduce::read_plan(folder_.plan());
  const std::string file = folder_.plan().string();
  if (plan.weights_sha256 != need_baseline("decision", inputs_.decision.size()).weights_sha256)
    throw InputError({file}, "this plan was made for other weights; run 'kintsugi reduce plan' again");
  if (plan.chips.size() != inputs_.chips.size())
    throw InputError({file},
                     fmt::format("this plan has {} chips, the campaign {}; run 'kintsugi reduce plan' again",
                                 plan.chips.size(), inputs_.chips.size()));
  for (std::size_t i = 0; i < plan.chips.size(); ++i) {
    const reduce::ChipFacts& facts = plan.chips[i].facts;
    if (facts.id != inputs_.chips.id(i) || facts.fault_map_sha256 != inputs_.chip_sha256[i])
      throw InputError(
          {file}, fmt::format("chip '{}' of this plan is not chip '{}' of the campaign with its fault map; "
                              "run 'kintsugi reduce plan' again",
                              facts.id, inputs_.chips.id(i)));
  }
  return plan;
}

std::vector<RetrainJob> Campaign::jobs(const reduce::Plan& plan, bool for_comparison) const {
  const std::vector<std::int64_t> evaluated = inputs_.config.characterize.evaluated();
  const auto compared = for_comparison ? policies(planning_data()) : std::vector<Policy>();
  std::vector<RetrainJob> all;
  for (const reduce::ChipPlan& chip : plan.chips) {
    RetrainJob job;
    std::set<std::int64_t> amounts;
    const auto want = [&](const reduce::ChipPlan& decided, const configs::PolicyConfig& policy) {
      if (decided.verdict == reduce::Verdict::reject) return;
      if (climbs(policy, decided))
        job.wanted.ladders.push_back(reduce::ladder_from(decided.planned_steps, evaluated, policy.extend));
      else
        amounts.insert(decided.planned_steps);
    };
    // A grouped chip's own amount is of use to a comparison only.
    if (!chip.group) want(chip, plan.policy);
    for (const Policy& policy : compared) want(policy.planner.decide(chip.facts), policy.planner.policy());
    job.wanted.marks.assign(amounts.begin(), amounts.end());
    job.deliver = chip.verdict != reduce::Verdict::reject && !chip.group;
    if (!chip.group && !climbs(plan.policy, chip)) job.planned = chip.planned_steps;
    job.repair = chip.verdict != reduce::Verdict::ship;
    all.push_back(std::move(job));
  }
  return all;
}

bool Campaign::retrained(const reduce::ChipPlan& chip, const RetrainJob& job) const {
  const auto points = folder_.read_retrained(chip.facts.id, inputs_.decision.size(), inputs_.test.size());
  if (!points) return false;
  const reduce::ScoreAt scores = decision_scores(*points);
  if (reduce::next_amount(job.wanted, scores, constraint_)) return false;
  if (!job.deliver) return true;
  if (!folder_.delivered(chip.facts.id)) return false;
  const std::int64_t delivered =
      job.planned ? *job.planned : reduce::climb(job.wanted.ladders.front(), scores, constraint_).reached;
  return std::any_of(points->begin(), points->end(), [&](const RetrainedPoint& p) {
    return p.steps == delivered && p.test_float_correct && p.test_fault_free_correct;
  });
}

Phase Campaign::retrain_phase(const reduce::Plan& plan, bool for_comparison) const {
  Phase phase{folder_.root(), for_comparison ? "retrain" : "retrain_planned", "steps"};
  std::vector<std::pair<std::size_t, RetrainJob>> tasks;
  const std::vector<RetrainJob> all = jobs(plan, for_comparison);
  for (std::size_t i = 0; i < plan.chips.size(); ++i) {
    const RetrainJob& job = all[i];
    if (job.wanted.empty()) continue;
    const std::string& id = plan.chips[i].facts.id;
    // Where a ladder ends is not known yet: its first rung.
    std::vector<std::int64_t> amounts = job.wanted.marks;
    for (const reduce::Ladder& ladder : job.wanted.ladders) amounts.push_back(ladder.amounts.front());
    std::sort(amounts.begin(), amounts.end());
    const std::int64_t work = reduce::steps_spent(amounts, inputs_.config.retrain.schedule.kind);
    phase.add({"retraining of " + id, std::max<std::int64_t>(1, work), id, folder_.retrain_task(id)},
              retrained(plan.chips[i], job));
    tasks.emplace_back(i, job);
  }
  phase.start = [this, tasks]() -> RunTask {
    auto worker = std::make_shared<CampaignWorker>(inputs_, folder_, run_.threads, run_.checkpoint_seconds);
    return [this, worker, tasks](std::size_t task, const ReportSteps& progress) {
      worker->retrain(inputs_.chips[tasks[task].first], tasks[task].second, progress);
    };
  };
  return phase;
}

void Campaign::retrain(bool for_comparison) {
  const reduce::Plan plan = need_plan();
  run_phase([&] { return baseline_phase("test", inputs_.test); }, run_);
  run_phase([&] { return retrain_phase(plan, for_comparison); }, run_);
  run_groups(plan);
  folder_.remove_all_repaired();  // of chips that were planned and not retrained
  const CampaignReport results = report(plan);
  common::write_file_atomic(folder_.results(), results_csv(results));
  if (!for_comparison) common::write_file_atomic(folder_.summary(), summary_yaml(results));
  say(fmt::format("\n{}", chips_table(results, colours_)));
}

Campaign::Reached Campaign::need_reached(const reduce::ChipPlan& chip,
                                         const configs::PolicyConfig& policy) const {
  const std::string& id = chip.facts.id;
  const auto points = folder_.read_retrained(id, inputs_.decision.size(), inputs_.test.size());
  Reached reached{{}, {chip.planned_steps}};
  std::int64_t wanted = chip.planned_steps;
  if (points) {
    if (climbs(policy, chip)) {
      const reduce::Climb climb = reduce::climb(
          reduce::ladder_from(chip.planned_steps, inputs_.config.characterize.evaluated(), policy.extend),
          decision_scores(*points), constraint_);
      wanted = climb.missing.value_or(climb.reached);
      reached.tried = climb.tried;
    }
    for (const RetrainedPoint& point : *points)
      if (point.steps == wanted) {
        reached.point = point;
        return reached;
      }
  }
  throw InputError(
      {folder_.retrain_task(id).string()},
      fmt::format("holds no result of chip '{}' after {} steps; run the command again", id, wanted));
}

CampaignReport Campaign::report(const reduce::Plan& plan) const {
  CampaignReport report;
  report.chip = inputs_.chip.name;
  report.network = inputs_.network.name;
  report.dataset = inputs_.training.name;
  report.constraint = constraint_.describe();
  report.decided_on = plan.decided_on;
  report.policy = name_of(plan.policy);
  report.steps_per_epoch = inputs_.steps_per_epoch();
  add_costs(report);
  const Baseline decision = need_baseline("decision", inputs_.decision.size());
  report.decision_images = inputs_.decision.size();
  report.decision_float = reduce::count(decision.floating);
  report.decision_int8 = reduce::count(decision.int8);
  const Baseline test = need_baseline("test", inputs_.test.size());
  report.test_images = inputs_.test.size();
  report.test_float = reduce::count(test.floating);
  report.test_int8 = reduce::count(test.int8);
  report.like_chips = inputs_.config.characterize.maps == configs::CharacterizationMaps::like_chips;
  report.drops = inputs_.config.repair.drop.has_value();
  for (const faults::FaultMap& map : inputs_.chips)
    report.escapes += std::count_if(map.faults.begin(), map.faults.end(),
                                    [](const faults::Fault& fault) { return fault.escape; });
  for (const reduce::ChipPlan& chip : plan.chips) {
    ChipReport entry{chip, std::nullopt, reduce::Outcome::rejected, spent(chip, {})};
    if (chip.verdict != reduce::Verdict::reject && !chip.group) {
      const Reached reached = need_reached(chip, plan.policy);
      entry.reached = reached.point;
      entry.outcome = constraint_.judge(reached.point.test);
      entry.spent = spent(chip, reached.tried);
    }
    report.chips.push_back(std::move(entry));
  }
  add_groups(report, plan);
  if (plan.calibration) {
    report.guarantee = GuaranteeCheck{*plan.calibration};
    for (const ChipReport& chip : report.chips) {
      if (chip.plan.calibrated || !chip.reached) continue;
      ++report.guarantee->chips;
      report.guarantee->met += constraint_.met(chip.reached->decision) ? 1 : 0;
    }
  }
  return report;
}

void Campaign::add_policies(CampaignReport& report, const reduce::Plan& plan) const {
  std::vector<double> chip_rates;
  for (const reduce::ChipPlan& chip : plan.chips) chip_rates.push_back(chip.facts.fault_rate);
  const auto cuts = reduce::strata(inputs_.config.characterize.fault_rates, chip_rates);
  for (const Policy& policy : policies(planning_data())) {
    std::vector<reduce::ChipResult> results;
    PolicyReport entry;
    entry.seconds.emplace();
    for (const reduce::ChipPlan& chip : plan.chips) {
      const reduce::ChipPlan decided = policy.planner.decide(chip.facts);
      Reached reached;
      reduce::ChipResult result;
      result.fault_rate = chip.facts.fault_rate;
      if (decided.verdict != reduce::Verdict::reject) {
        reached = need_reached(decided, policy.planner.policy());
        result.final = reached.point.test;
      }
      const Arithmetic arithmetic = spent(decided, reached.tried);
      result.steps = arithmetic.retraining;
      result.repair_steps = arithmetic.repair.total();
      result.check_steps = arithmetic.checks;
      results.push_back(result);
      const auto took = seconds(decided, reached);
      if (took && entry.seconds)
        *entry.seconds += *took;
      else
        entry.seconds.reset();
    }
    entry.all = reduce::summarize_policy(policy.name, results, constraint_);
    const auto max = std::find_if(report.policies.begin(), report.policies.end(),
                                  [](const PolicyReport& other) { return other.all.policy == "max"; });
    if (policy.planner.policy().name == configs::PolicyName::fixed && max != report.policies.end())
      entry.all.break_even_chips =
          reduce::break_even(report.characterization.total() + report.shared_repair_steps,
                             max->all.mean_arithmetic(), entry.all.mean_arithmetic());
    for (const reduce::Stratum& cut : cuts)
      entry.strata.push_back(reduce::summarize_policy(policy.name, results, constraint_, cut));
    entry.chips = std::move(results);
    report.policies.push_back(std::move(entry));
  }
  add_grouped_policy(report, plan, cuts);
}

void Campaign::compare() {
  const reduce::Plan plan = need_plan();
  CampaignReport results = report(plan);
  add_policies(results, plan);
  common::write_file_atomic(folder_.compare(), compare_csv(results));
  common::write_file_atomic(folder_.compare_plot(), compare_picture(results, constraint_));
  common::write_file_atomic(folder_.timings(), timings_csv(results, phase_timings(folder_.root())));
  common::write_file_atomic(folder_.summary(), summary_yaml(results));
  say(compare_table(results, colours_));
}

bool Campaign::all_pass() const {
  const CampaignReport results = report(need_plan());
  return std::none_of(results.chips.begin(), results.chips.end(), [](const ChipReport& chip) {
    return chip.outcome == reduce::Outcome::fail || chip.outcome == reduce::Outcome::undecided;
  });
}

}  // namespace kintsugi::sim

// The steps of a campaign that deal with the lot's own chips: plan, retrain, compare.
#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <set>

#include "common/files.h"
#include "common/sha256.h"
#include "faults/fault_map_io.h"
#include "sim/campaign.h"
#include "sim/campaign_worker.h"
#include "training/reduce/plan_file.h"

namespace kintsugi::sim {
namespace {

using common::InputError;

std::string policy_name(const configs::PolicyConfig& policy) {
  switch (policy.name) {
    case configs::PolicyName::max:
      return "max";
    case configs::PolicyName::mean:
      return "mean";
    case configs::PolicyName::fixed:
      return fmt::format("fixed {}", policy.steps);
  }
  return "";
}

}  // namespace

reduce::ChipPlan Campaign::decide(const reduce::ChipFacts& facts,
                                  const std::vector<reduce::RateResilience>& rates,
                                  const configs::PolicyConfig& policy) const {
  return reduce::decide_chip(facts, reduce::Envelope(rates, policy), constraint_, policy.name,
                             inputs_.config.characterize.evaluate_every_steps, inputs_.steps_per_epoch());
}

Phase Campaign::plan_phase() const {
  Phase phase{folder_.root(), "plan", "chips"};
  for (const faults::FaultMap& map : inputs_.chips)
    phase.add({"accuracy of " + map.chip + " before retraining", 1, map.chip, folder_.before_task(map.chip)},
              folder_.read_before(map.chip, inputs_.decision.size()).has_value());
  phase.start = [this]() -> RunTask {
    auto worker = std::make_shared<CampaignWorker>(inputs_, folder_, run_.threads);
    return [this, worker](std::size_t task, const ReportSteps&) { worker->before(inputs_.chips[task]); };
  };
  return phase;
}

void Campaign::plan() {
  const Baseline baseline = need_baseline("decision", inputs_.decision.size());
  const auto rates = need_resilience();
  const std::int64_t images = inputs_.decision.size();
  for (const faults::FaultMap& map : inputs_.chips) {
    const std::string text = faults::fault_map_yaml(map);
    const std::filesystem::path file = folder_.chip(map.chip) / "fault_map.yaml";
    if (!std::filesystem::exists(file) || common::read_file(file) != text)
      common::write_file_atomic(file, text);
  }
  run_phase(plan_phase(), run_);

  reduce::Plan plan;
  plan.network = inputs_.network.name;
  plan.weights_sha256 = baseline.weights_sha256;
  plan.dataset = inputs_.training.name;
  plan.decided_on = decided_on();
  plan.constraint = inputs_.config.constraint;
  plan.policy = inputs_.config.policy;
  plan.steps_per_epoch = inputs_.steps_per_epoch();
  plan.baseline = {images, reduce::count(baseline.int8), 0, 0};
  for (const faults::FaultMap& map : inputs_.chips) {
    reduce::ChipFacts facts = folder_.read_before(map.chip, images).value();
    facts.fault_map = fmt::format("chips/{}/fault_map.yaml", map.chip);
    facts.fault_map_sha256 = common::sha256(faults::fault_map_yaml(map));
    plan.chips.push_back(decide(facts, rates, inputs_.config.policy));
  }
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
    if (facts.id != inputs_.chips[i].chip ||
        facts.fault_map_sha256 != common::sha256(faults::fault_map_yaml(inputs_.chips[i])))
      throw InputError(
          {file}, fmt::format("chip '{}' of this plan is not chip '{}' of the campaign with its fault map; "
                              "run 'kintsugi reduce plan' again",
                              facts.id, inputs_.chips[i].chip));
  }
  return plan;
}

std::vector<Campaign::Policy> Campaign::policies(const std::vector<reduce::RateResilience>& rates) const {
  using enum configs::PolicyName;
  std::vector<Policy> all{{"max", {max, 0}}, {"mean", {mean, 0}}};
  std::vector<std::int64_t> amounts = inputs_.config.compare_fixed_steps;
  if (amounts.empty()) amounts = reduce::default_fixed_steps(reduce::Envelope(rates, {max, 0}).top());
  if (inputs_.config.policy.name == fixed) amounts.push_back(inputs_.config.policy.steps);
  std::sort(amounts.begin(), amounts.end());
  amounts.erase(std::unique(amounts.begin(), amounts.end()), amounts.end());
  for (const std::int64_t steps : amounts) all.push_back({fmt::format("fixed {}", steps), {fixed, steps}});
  return all;
}

std::vector<std::vector<std::int64_t>> Campaign::marks(const reduce::Plan& plan, bool for_comparison) const {
  std::vector<std::vector<std::int64_t>> all;
  const auto rates = for_comparison ? need_resilience() : std::vector<reduce::RateResilience>();
  const auto compared = for_comparison ? policies(rates) : std::vector<Policy>();
  for (const reduce::ChipPlan& chip : plan.chips) {
    std::set<std::int64_t> amounts;
    if (chip.verdict != reduce::Verdict::reject) amounts.insert(chip.planned_steps);
    for (const Policy& policy : compared) {
      const reduce::ChipPlan other = decide(chip.facts, rates, policy.config);
      if (other.verdict != reduce::Verdict::reject) amounts.insert(other.planned_steps);
    }
    all.emplace_back(amounts.begin(), amounts.end());
  }
  return all;
}

bool Campaign::retrained(const reduce::ChipPlan& chip, const std::vector<std::int64_t>& marks) const {
  if (marks.empty()) return true;
  const auto points = folder_.read_retrained(chip.facts.id, inputs_.decision.size(), inputs_.test.size());
  if (!points) return false;
  for (const std::int64_t mark : marks)
    if (std::none_of(points->begin(), points->end(),
                     [&](const RetrainedPoint& p) { return p.steps == mark; }))
      return false;
  if (chip.verdict == reduce::Verdict::reject) return true;
  const std::filesystem::path folder = folder_.chip(chip.facts.id);
  if (!std::filesystem::exists(folder / "weights.safetensors") ||
      !std::filesystem::exists(folder / "deployed.safetensors"))
    return false;
  return std::any_of(points->begin(), points->end(), [&](const RetrainedPoint& p) {
    return p.steps == chip.planned_steps && p.test_float_correct && p.test_fault_free_correct;
  });
}

Phase Campaign::retrain_phase(const reduce::Plan& plan, bool for_comparison) const {
  struct Job {
    std::size_t chip;
    std::vector<std::int64_t> marks;
    std::optional<std::int64_t> planned;
    bool repair;
  };
  Phase phase{folder_.root(), for_comparison ? "retrain" : "retrain_planned", "steps"};
  std::vector<Job> jobs;
  const auto wanted = marks(plan, for_comparison);
  for (std::size_t i = 0; i < plan.chips.size(); ++i) {
    if (wanted[i].empty()) continue;
    const reduce::ChipPlan& chip = plan.chips[i];
    phase.add({"retraining of " + chip.facts.id, std::max<std::int64_t>(1, wanted[i].back()), chip.facts.id,
               folder_.retrain_task(chip.facts.id)},
              retrained(chip, wanted[i]));
    jobs.push_back({i, wanted[i], std::nullopt, chip.verdict != reduce::Verdict::ship});
    if (chip.verdict != reduce::Verdict::reject) jobs.back().planned = chip.planned_steps;
  }
  phase.start = [this, jobs]() -> RunTask {
    auto worker = std::make_shared<CampaignWorker>(inputs_, folder_, run_.threads);
    return [this, worker, jobs](std::size_t task, const ReportSteps& progress) {
      const Job& job = jobs[task];
      worker->retrain(inputs_.chips[job.chip], job.marks, job.planned, job.repair, progress);
    };
  };
  return phase;
}

void Campaign::retrain(bool for_comparison) {
  const reduce::Plan plan = need_plan();
  run_phase(baseline_phase("test", inputs_.test), run_);
  run_phase(retrain_phase(plan, for_comparison), run_);
  const CampaignReport results = report(plan);
  common::write_file_atomic(folder_.results(), results_csv(results));
  if (!for_comparison) common::write_file_atomic(folder_.summary(), summary_yaml(results));
  say(fmt::format("\n{}", chips_table(results, colours_)));
}

RetrainedPoint Campaign::need_retrained(const std::string& id, std::int64_t steps) const {
  const auto points = folder_.read_retrained(id, inputs_.decision.size(), inputs_.test.size());
  if (points)
    for (const RetrainedPoint& point : *points)
      if (point.steps == steps) return point;
  throw InputError(
      {folder_.retrain_task(id).string()},
      fmt::format("holds no result of chip '{}' after {} steps; run the command again", id, steps));
}

CampaignReport Campaign::report(const reduce::Plan& plan) const {
  CampaignReport report;
  report.chip = inputs_.chip.name;
  report.network = inputs_.network.name;
  report.dataset = inputs_.training.name;
  report.constraint = constraint_.describe();
  report.decided_on = plan.decided_on;
  report.policy = policy_name(plan.policy);
  report.steps_per_epoch = inputs_.steps_per_epoch();
  const configs::CharacterizeConfig& config = inputs_.config.characterize;
  report.characterization_steps =
      static_cast<std::int64_t>(config.fault_rates.size()) * config.repeats * config.max_steps;
  const Baseline decision = need_baseline("decision", inputs_.decision.size());
  report.decision_images = inputs_.decision.size();
  report.decision_float = reduce::count(decision.floating);
  report.decision_int8 = reduce::count(decision.int8);
  const Baseline test = need_baseline("test", inputs_.test.size());
  report.test_images = inputs_.test.size();
  report.test_float = reduce::count(test.floating);
  report.test_int8 = reduce::count(test.int8);
  for (const faults::FaultMap& map : inputs_.chips)
    report.escapes += std::count_if(map.faults.begin(), map.faults.end(),
                                    [](const faults::Fault& fault) { return fault.escape; });
  for (const reduce::ChipPlan& chip : plan.chips) {
    ChipReport entry{chip, std::nullopt, reduce::Outcome::rejected};
    if (chip.verdict != reduce::Verdict::reject) {
      entry.reached = need_retrained(chip.facts.id, chip.planned_steps);
      entry.outcome = constraint_.judge(entry.reached->test);
    }
    report.chips.push_back(std::move(entry));
  }
  return report;
}

void Campaign::add_policies(CampaignReport& report, const reduce::Plan& plan) const {
  const auto rates = need_resilience();
  std::vector<double> chip_rates;
  for (const reduce::ChipPlan& chip : plan.chips) chip_rates.push_back(chip.facts.fault_rate);
  const auto cuts = reduce::strata(inputs_.config.characterize.fault_rates, chip_rates);
  for (const Policy& policy : policies(rates)) {
    std::vector<reduce::ChipResult> results;
    for (const reduce::ChipPlan& chip : plan.chips) {
      const reduce::ChipPlan decided = decide(chip.facts, rates, policy.config);
      reduce::ChipResult result{chip.facts.fault_rate, decided.planned_steps, std::nullopt};
      if (decided.verdict != reduce::Verdict::reject)
        result.final = need_retrained(chip.facts.id, decided.planned_steps).test;
      results.push_back(result);
    }
    PolicyReport entry;
    entry.all = reduce::summarize_policy(policy.name, results, constraint_);
    if (policy.config.name == configs::PolicyName::fixed)
      entry.all.break_even_chips = reduce::break_even(
          report.characterization_steps, report.policies[0].all.mean_steps, entry.all.mean_steps);
    for (const reduce::Stratum& cut : cuts)
      entry.strata.push_back(reduce::summarize_policy(policy.name, results, constraint_, cut));
    report.policies.push_back(std::move(entry));
  }
}

void Campaign::compare() {
  const reduce::Plan plan = need_plan();
  CampaignReport results = report(plan);
  add_policies(results, plan);
  common::write_file_atomic(folder_.compare(), compare_csv(results));
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

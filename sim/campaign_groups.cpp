// The steps of a campaign that deal with groups: chips that share a network (training/reduce/grouping.h).
#include <fmt/format.h>

#include <algorithm>
#include <memory>

#include "sim/campaign.h"
#include "sim/campaign_worker.h"
#include "training/reduce/grouping.h"

namespace kintsugi::sim {
namespace {

using common::InputError;

// What repairing a map takes, in steps, by its fault rate: means of the characterised maps, made to rise,
// linear between their rates.
class RepairCurve {
 public:
  void add(double fault_rate, double steps) {
    if (!knots_.empty()) steps = std::max(steps, knots_.back().second);
    knots_.emplace_back(fault_rate, steps);
  }
  double at(double fault_rate) const {
    if (knots_.empty()) return 0;
    if (fault_rate <= knots_.front().first) return knots_.front().second;
    for (std::size_t i = 1; i < knots_.size(); ++i) {
      const auto& [low, low_steps] = knots_[i - 1];
      const auto& [high, high_steps] = knots_[i];
      if (fault_rate <= high) return low_steps + (high_steps - low_steps) * (fault_rate - low) / (high - low);
    }
    return knots_.back().second;
  }

 private:
  std::vector<std::pair<double, double>> knots_;
};

}  // namespace

std::vector<reduce::PlannedGroup> Campaign::make_groups(const reduce::Planner& planner,
                                                        std::vector<reduce::ChipPlan>& chips) const {
  const configs::CampaignConfig& config = inputs_.config;
  RepairCurve repair;
  if (config.repair.any())
    for (const double rate : config.characterize.fault_rates) {
      double sum = 0;
      for (int repeat = 0; repeat < config.characterize.repeats; ++repeat)
        sum += need_characterized(rate, repeat).repair_steps.total();
      repair.add(rate, sum / config.characterize.repeats);
    }
  const double check = reduce::forward_steps(inputs_.decision.size(), config.retrain.batch);
  const bool climbs = config.policy.name == configs::PolicyName::adaptive;
  const auto pes = static_cast<double>(inputs_.chip.array.rows) * inputs_.chip.array.cols;
  // Every chip is checked once more on its own, grouped or not; a ladder checks the group's network, too.
  const reduce::FusedCostOf cost_of = [&](std::int64_t bypassed) -> std::optional<reduce::FusedCost> {
    const double rate = static_cast<double>(bypassed) / pes;
    const auto steps = planner.fused_amount(rate);
    if (!steps) return std::nullopt;
    return reduce::FusedCost{*steps, repair.at(rate) + (climbs ? check : 0)};
  };
  std::vector<reduce::GroupCandidate> candidates;
  std::vector<std::size_t> of;  // by candidate, its chip
  for (std::size_t i = 0; i < chips.size(); ++i) {
    const reduce::ChipPlan& chip = chips[i];
    if (chip.verdict != reduce::Verdict::retrain || chip.facts.live_faults > 0 || chip.facts.dropped)
      continue;
    // A chip that was measured is repaired already.
    const bool measured = chip.facts.before || chip.facts.repaired;
    const double repairs = measured ? 0 : repair.at(chip.facts.fault_rate);
    candidates.push_back({reduce::packed_bits(compile_for(inputs_, inputs_.chips[i]).bypass),
                          chip.planned_steps, static_cast<double>(chip.planned_steps) + repairs});
    of.push_back(i);
  }
  std::vector<reduce::PlannedGroup> groups;
  for (const reduce::FusedGroup& fused :
       reduce::group_chips(candidates, cost_of, {config.group->max_chips})) {
    reduce::PlannedGroup group;
    group.id = fmt::format("group-{:04}", groups.size() + 1);
    group.bypassed_pes = fused.bypassed_pes;
    group.fault_rate = static_cast<double>(fused.bypassed_pes) / pes;
    group.planned_steps = fused.steps;
    group.planned_epochs = static_cast<double>(fused.steps) / static_cast<double>(inputs_.steps_per_epoch());
    group.saving = fused.saving;
    for (const std::size_t member : fused.members) {
      reduce::ChipPlan& chip = chips[of[member]];
      group.chips.push_back(chip.facts.id);
      chip.group = group.id;
      chip.predicted = planner.expected(group.fault_rate, group.planned_steps);
      chip.reason += fmt::format("; shares the network of {}", group.id);
    }
    groups.push_back(std::move(group));
  }
  return groups;
}

std::vector<GroupJob> Campaign::group_jobs(const reduce::Plan& plan) const {
  std::vector<GroupJob> jobs;
  if (!plan.groups) return jobs;
  for (const reduce::PlannedGroup& group : *plan.groups) {
    GroupJob job;
    job.id = group.id;
    if (plan.policy.name == configs::PolicyName::adaptive) {
      job.wanted.ladders.push_back(reduce::ladder_from(
          group.planned_steps, inputs_.config.characterize.evaluated(), plan.policy.extend));
      job.tag = fmt::format("ladder {} {}", static_cast<int>(plan.policy.extend), group.planned_steps);
    } else {
      job.wanted.marks.push_back(group.planned_steps);
      job.tag = fmt::format("mark {}", group.planned_steps);
    }
    for (std::size_t i = 0; i < plan.chips.size(); ++i) {
      if (plan.chips[i].group != group.id) continue;
      job.chips.push_back(i);
      job.tag += " " + inputs_.chip_sha256[i];
    }
    jobs.push_back(std::move(job));
  }
  return jobs;
}

Phase Campaign::group_phase(const reduce::Plan& plan) const {
  Phase phase{folder_.root(), "group", "steps"};
  const std::vector<GroupJob> jobs = group_jobs(plan);
  for (const GroupJob& job : jobs) {
    const std::int64_t steps =
        job.wanted.marks.empty() ? job.wanted.ladders.front().amounts.front() : job.wanted.marks.front();
    phase.add({fmt::format("retraining of {} ({} chips)", job.id, job.chips.size()), steps, job.id,
               folder_.group_task(job.id)},
              folder_.read_group(job.id, job.tag, inputs_.network).has_value());
  }
  phase.start = [this, jobs]() -> RunTask {
    auto worker = std::make_shared<CampaignWorker>(inputs_, folder_, run_.threads, run_.checkpoint_seconds);
    return [worker, jobs](std::size_t task, const ReportSteps& progress) {
      worker->retrain_group(jobs[task], progress);
    };
  };
  return phase;
}

Phase Campaign::deliver_phase(const reduce::Plan& plan) const {
  Phase phase{folder_.root(), "deliver", "chips"};
  std::vector<std::pair<std::size_t, GroupJob>> tasks;
  for (const GroupJob& job : group_jobs(plan)) {
    const auto group = folder_.read_group(job.id, job.tag, inputs_.network);
    if (!group)
      throw InputError({folder_.group_task(job.id).string()},
                       fmt::format("{} is not retrained yet, and its chips have nothing to be given; run "
                                   "'kintsugi campaign resume'",
                                   job.id));
    for (const std::size_t chip : job.chips) {
      const std::string& id = inputs_.chips.id(chip);
      phase.add({fmt::format("{} with the network of {}", id, job.id), 1, id, folder_.deliver_task(id)},
                folder_.read_delivered(id, group->sha256, inputs_.decision.size(), inputs_.test.size())
                    .has_value());
      tasks.emplace_back(chip, job);
    }
  }
  phase.start = [this, tasks]() -> RunTask {
    auto worker = std::make_shared<CampaignWorker>(inputs_, folder_, run_.threads, run_.checkpoint_seconds);
    return [this, worker, tasks](std::size_t task, const ReportSteps&) {
      worker->deliver(inputs_.chips[tasks[task].first], tasks[task].second);
    };
  };
  return phase;
}

void Campaign::run_groups(const reduce::Plan& plan) {
  if (!plan.groups || plan.groups->empty()) return;
  run_phase([&] { return group_phase(plan); }, run_);
  run_phase([&] { return deliver_phase(plan); }, run_);
}

void Campaign::add_groups(CampaignReport& report, const reduce::Plan& plan) const {
  if (!plan.groups) return;
  report.groups.emplace();
  const double check = reduce::forward_steps(inputs_.decision.size(), inputs_.config.retrain.batch);
  const std::vector<GroupJob> jobs = group_jobs(plan);
  for (std::size_t g = 0; g < jobs.size(); ++g) {
    const GroupJob& job = jobs[g];
    const reduce::PlannedGroup& planned = (*plan.groups)[g];
    ++report.groups->groups;
    report.groups->chips += std::ssize(job.chips);
    report.groups->planned_steps += planned.planned_steps;
    report.groups->saving += planned.saving;
    const auto group = folder_.read_group(job.id, job.tag, inputs_.network);
    for (const std::size_t i : job.chips) {
      ChipReport& chip = report.chips[i];
      const auto point = group ? folder_.read_delivered(chip.plan.facts.id, group->sha256,
                                                        inputs_.decision.size(), inputs_.test.size())
                               : std::nullopt;
      if (!point)
        throw InputError({folder_.deliver_task(chip.plan.facts.id).string()},
                         fmt::format("holds no result of chip '{}' with the network of {}; run the command "
                                     "again",
                                     chip.plan.facts.id, job.id));
      chip.reached = *point;
      chip.outcome = constraint_.judge(point->test);
      chip.spent = spent(chip.plan, {});
      chip.spent.checks += check;
      report.groups->planned_alone += chip.plan.planned_steps;
      if (i != job.chips.front()) continue;
      chip.spent += Arithmetic{group->repair_steps, check * static_cast<double>(group->checks),
                               reduce::steps_spent(group->tried, inputs_.config.retrain.schedule.kind)};
    }
  }
}

void Campaign::add_grouped_policy(CampaignReport& report, const reduce::Plan& plan,
                                  const std::vector<reduce::Stratum>& cuts) const {
  if (!plan.groups || plan.groups->empty()) return;
  std::vector<reduce::ChipResult> results;
  PolicyReport entry;
  entry.seconds.emplace();
  const auto add = [&](const std::optional<common::Seconds>& took) {
    if (took && entry.seconds)
      *entry.seconds += *took;
    else
      entry.seconds.reset();
  };
  const auto all_of = [&](const char* phase, const std::string& key) -> std::optional<common::Seconds> {
    const auto times = read_timings(folder_.root(), phase, key);
    if (!times) return std::nullopt;
    common::Seconds sum;
    for (const auto& [stage, time] : *times)
      if (stage != "experiment") sum += time.seconds;
    return sum;
  };
  for (const ChipReport& chip : report.chips) {
    reduce::ChipResult result;
    result.fault_rate = chip.plan.facts.fault_rate;
    if (chip.reached) result.final = chip.reached->test;
    result.steps = chip.spent.retraining;
    result.repair_steps = chip.spent.repair.total();
    result.check_steps = chip.spent.checks;
    results.push_back(result);
    if (!chip.plan.group) {
      add(seconds(chip.plan, chip.reached ? need_reached(chip.plan, plan.policy) : Reached{}));
      continue;
    }
    add(all_of("before", chip.plan.facts.id));
    add(all_of("deliver", chip.plan.facts.id));
  }
  for (const reduce::PlannedGroup& group : *plan.groups) add(all_of("group", group.id));
  const std::string name = name_of(plan.policy) + ", grouped";
  entry.all = reduce::summarize_policy(name, results, constraint_);
  for (const reduce::Stratum& cut : cuts)
    entry.strata.push_back(reduce::summarize_policy(name, results, constraint_, cut));
  entry.chips = std::move(results);
  report.policies.push_back(std::move(entry));
}

}  // namespace kintsugi::sim

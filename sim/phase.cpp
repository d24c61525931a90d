#include "sim/phase.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>

#include "common/diagnostics.h"
#include "sim/phase_status.h"
#include "sim/slurm_executor.h"

namespace kintsugi::sim {

namespace {

std::string missing_text(const Phase& phase) {
  constexpr std::size_t kShown = 10;
  std::string text =
      fmt::format("{}: {} of {} tasks are missing:", phase.name, phase.missing.size(), phase.tasks.size());
  for (std::size_t i = 0; i < std::min(kShown, phase.missing.size()); ++i)
    text += "\n  " + phase.tasks[phase.missing[i]].name;
  if (phase.missing.size() > kShown) text += fmt::format("\n  and {} more", phase.missing.size() - kShown);
  return text + "\n'kintsugi campaign resume' does them";
}

// With a note for `campaign status`.
void run_noted(const Phase& phase, std::size_t task, const RunTask& run, const ReportSteps& progress) {
  TaskNote note(phase, phase.tasks[task]);
  run(task, [&](std::int64_t units) {
    note.add(units);
    progress(units);
  });
}

}  // namespace

void Phase::add(Task task, bool done) {
  if (!done) missing.push_back(tasks.size());
  tasks.push_back(std::move(task));
}

std::string done_before(const Phase& phase) {
  return fmt::format("{}: {} of {} tasks were done before", phase.name,
                     phase.tasks.size() - phase.missing.size(), phase.tasks.size());
}

IncompletePhase::IncompletePhase(const Phase& phase) : std::runtime_error(missing_text(phase)) {}

void run_phase(const std::function<Phase()>& build, const CampaignRun& run) {
  if (run.compute && run.slurm) return run_on_slurm(build, run);
  const Phase phase = build();
  if (!run.compute) {
    if (!phase.missing.empty()) throw IncompletePhase(phase);
    return;
  }
  if (phase.missing.size() < phase.tasks.size() && !phase.one_worker && !run.quiet) {
    fmt::print("{}\n", done_before(phase));
    std::fflush(stdout);
  }
  std::vector<Task> tasks;
  for (const std::size_t task : phase.missing) tasks.push_back(phase.tasks[task]);
  const StartWorker start = [&phase]() -> RunTask {
    return [&phase, run_task = phase.start()](std::size_t task, const ReportSteps& progress) {
      run_noted(phase, phase.missing[task], run_task, progress);
    };
  };
  begin_status(phase);
  run_tasks(tasks, start, {phase.one_worker ? 1 : run.workers, phase.name, phase.unit, run.progress()});
}

void run_some(const Phase& phase, const std::vector<std::string>& keys) {
  std::vector<std::size_t> chosen;
  for (const std::string& key : keys) {
    const auto task = std::find_if(phase.tasks.begin(), phase.tasks.end(),
                                   [&](const Task& candidate) { return candidate.key == key; });
    if (task == phase.tasks.end())
      throw common::InputError(fmt::format("phase '{}' of this campaign has no task '{}'", phase.name, key));
    const auto index = static_cast<std::size_t>(task - phase.tasks.begin());
    if (std::find(phase.missing.begin(), phase.missing.end(), index) != phase.missing.end())
      chosen.push_back(index);
  }
  if (chosen.empty()) return;
  const RunTask run = phase.start();
  for (const std::size_t task : chosen) run_noted(phase, task, run, [](std::int64_t) {});
}

}  // namespace kintsugi::sim

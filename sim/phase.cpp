#include "sim/phase.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>

#include "common/diagnostics.h"

namespace kintsugi::sim {

void Phase::add(Task task, bool done) {
  if (!done) missing.push_back(tasks.size());
  tasks.push_back(std::move(task));
}

void run_phase(const Phase& phase, const CampaignRun& run) {
  const std::size_t done = phase.tasks.size() - phase.missing.size();
  if (done > 0 && !phase.one_worker && !run.quiet) {
    fmt::print("{}: {} of {} tasks were done before\n", phase.name, done, phase.tasks.size());
    std::fflush(stdout);
  }
  std::vector<Task> tasks;
  for (const std::size_t task : phase.missing) tasks.push_back(phase.tasks[task]);
  const StartWorker start = [&phase]() -> RunTask {
    return [&phase, run_task = phase.start()](std::size_t task, const ReportSteps& progress) {
      run_task(phase.missing[task], progress);
    };
  };
  run_tasks(tasks, start, {phase.one_worker ? 1 : run.workers, phase.name, phase.unit, run.quiet});
}

void run_one(const Phase& phase, const std::string& key) {
  const auto task = std::find_if(phase.tasks.begin(), phase.tasks.end(),
                                 [&](const Task& candidate) { return candidate.key == key; });
  if (task == phase.tasks.end())
    throw common::InputError(fmt::format("phase '{}' of this campaign has no task '{}'", phase.name, key));
  phase.start()(static_cast<std::size_t>(task - phase.tasks.begin()), [](std::int64_t) {});
}

}  // namespace kintsugi::sim

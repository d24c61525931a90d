// Runs independent tasks in worker processes: the local executor of campaigns.
//
// Workers are forked, so they see what the caller has loaded without copying it; the caller must not have
// started any thread. A task's result is whatever it writes to files. A worker that dies is reported and
// replaced, and its task is tried once more. Workers die with the coordinator, however that ends.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "common/progress.h"

namespace kintsugi::sim {

struct Task {
  std::string name;       // for messages
  std::int64_t work = 1;  // in units of the progress bar
  // For programs; see sim/phase.h.
  std::string key = {};
  std::filesystem::path result = {};  // the file that its end leaves
};

// Called with units of work done since its last call.
using ReportSteps = std::function<void(std::int64_t)>;
// Runs task number `task`.
using RunTask = std::function<void(std::size_t task, const ReportSteps& progress)>;
// Called once in each worker, before its first task: the place to start threads.
using StartWorker = std::function<RunTask()>;

struct ExecutorOptions {
  int workers = 1;
  std::string label;  // of the progress bar
  std::string unit = "tasks";
  common::ProgressOutput progress = common::ProgressOutput::people;
};

// Returns when all tasks are done. An InputError of a task is thrown here again; any other exception, and a
// task whose worker died twice, become a std::runtime_error naming the task. The other workers are stopped.
void run_tasks(const std::vector<Task>& tasks, const StartWorker& start, const ExecutorOptions& options);

}  // namespace kintsugi::sim

// A phase of a campaign: tasks that need nothing of each other, only what phases before it left in the
// folder.
//
// A phase is a value that any process can build from the campaign's inputs and its folder: the coordinator to
// run what is missing, another process to run one task of it, named by its key.
#pragma once

#include <cstddef>
#include <filesystem>
#include <functional>
#include <stdexcept>
#include <string>
#include <vector>

#include "sim/campaign_run.h"
#include "sim/task_executor.h"

namespace kintsugi::sim {

struct Phase {
  std::filesystem::path folder;  // the campaign's
  std::string name;              // "characterize"; unique in its campaign
  std::string unit = "tasks";
  // All of them, done or not. Their keys are unique here, the same in every process and from run to run, and
  // fit to name a file.
  std::vector<Task> tasks = {};
  std::vector<std::size_t> missing = {};  // tasks whose results are not there, in the order to start them in
  StartWorker start = {};                 // its RunTask takes an index of `tasks`
  bool one_worker = false;                // a single worker with all threads, instead of several

  void add(Task task, bool done);
};

// What a run that does not compute meets where results are missing; what() lists them.
class IncompletePhase : public std::runtime_error {
 public:
  explicit IncompletePhase(const Phase& phase);
};

// "plan: 3 of 12 tasks were done before"
std::string done_before(const Phase& phase);

// Does what is missing, in worker processes or in jobs of a cluster, or throws IncompletePhase if the run is
// not to compute. `build` tells what is missing by the folder's files as they are then. Throws as run_tasks()
// and run_on_slurm() do.
void run_phase(const std::function<Phase()>& build, const CampaignRun& run);

// Does these tasks in this process, as far as they are missing. Throws common::InputError if the phase has no
// task of that key.
void run_some(const Phase& phase, const std::vector<std::string>& keys);

}  // namespace kintsugi::sim

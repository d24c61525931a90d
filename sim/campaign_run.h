// How a campaign is run on this machine: nothing of it can change a result.
#pragma once

#include <optional>

#include "common/progress.h"
#include "configs/executor.h"
#include "sim/options.h"

namespace kintsugi::sim {

// A coordinator goes through the phases of a campaign and has its folder to itself. A worker does single
// tasks of it while a coordinator may be there.
enum class Role { coordinator, worker };

struct CampaignRun {
  Role role = Role::coordinator;
  int workers = 0;      // 0: as many as the campaign says
  int threads = 0;      // of each worker; 0: as many as there are cores for
  bool compute = true;  // false: only make tables of what is there
  bool quiet = false;   // prints nothing
  bool json_progress = false;
  double checkpoint_seconds = 60;  // between two checkpoints of a task
  // Instead of worker processes here: jobs of a cluster, of which `at_a_time` of an array run at a time.
  std::optional<configs::SlurmConfig> slurm = std::nullopt;
  std::optional<int> at_a_time = std::nullopt;

  common::ProgressOutput progress() const;
};

// Adds --workers and --json-progress.
void add_run_options(OptionParser& parser);
CampaignRun campaign_run(const OptionParser& parser);
// With workers, threads and cluster decided, by what the campaign says where the run does not.
CampaignRun settled(CampaignRun run, const configs::ExecutorConfig& executor);

}  // namespace kintsugi::sim

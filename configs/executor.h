// Who does a campaign's tasks: worker processes on this machine, or the jobs of a Slurm cluster.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "configs/yaml_reader.h"

namespace kintsugi::configs {

// Settings of Slurm jobs; what is left out is left to the site.
struct SlurmConfig {
  std::string partition;
  std::string account;
  std::string time_limit;                      // of a job, as sbatch writes it: "30", "2:00:00", "1-12"
  std::optional<double> memory_gb;             // of a job
  int cpus_per_task = 1;                       // cores of a job, and threads of its worker
  int tasks_per_job = 1;                       // that a job does one after another
  std::optional<std::int64_t> max_array_size;  // jobs of one array; absent: the cluster's own limit
  std::vector<std::string> extra;              // further options of sbatch, a word each
  double poll_seconds = 10;                    // between two looks at the queue
};

struct ExecutorConfig {
  // Local: worker processes. Slurm: jobs of an array that run at a time; absent there: as many as start.
  std::optional<int> workers;
  std::optional<SlurmConfig> slurm;  // absent: local
};

// Reads a campaign's section `executor`.
ExecutorConfig read_executor(Section executor);

}  // namespace kintsugi::configs

// What Kintsugi asks of Slurm, through Slurm's own programs: sbatch, squeue, scontrol, scancel.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace kintsugi::sim {

// One job of an array, as squeue shows it.
struct QueueEntry {
  std::string name;
  std::int64_t job = 0;      // of the whole array
  std::int64_t element = 0;  // its index there
  std::string state;         // "PENDING", "RUNNING", "NODE_FAIL", …
  bool live = false;         // it may still leave results
  // Slurm could not start it, put it back and holds it until somebody says otherwise; not live.
  bool stuck = false;
  std::string reason;  // why it waits, in Slurm's words
};

struct SlurmAnswer {
  std::optional<std::vector<QueueEntry>> entries;  // absent: the controller does not answer
  std::string problem;                             // then: what squeue said
};

// Elements of all jobs with one of these names that Slurm still knows, ended ones among them.
SlurmAnswer ask_queue(const std::vector<std::string>& names);

struct Submitted {
  std::optional<std::int64_t> job;  // absent: refused
  std::string problem;              // then: what sbatch said
  bool transient = false;           // and whether that may pass (the controller did not answer)
};

// Submits with sbatch's options and the script. Throws common::InputError if there is no sbatch.
Submitted submit_job(const std::vector<std::string>& options, const std::string& script);

// MaxArraySize of the cluster: the most elements of one array. Absent if the controller does not say.
std::optional<std::int64_t> largest_array();

// Ends jobs ("17") or elements ("17_3"). What cannot be ended has ended already.
void cancel_jobs(const std::vector<std::string>& jobs);

// A word for a POSIX shell, whatever is in it.
std::string shell_quote(const std::string& word);

}  // namespace kintsugi::sim

// What a campaign's folder knows of its Slurm jobs, in slurm/<phase>/:
//   <n>.tasks    which tasks the n-th array of jobs does, and the name of its jobs, by which the queue is
//   asked
//                for them; written before sbatch is called, so that nothing submitted is ever forgotten
//   <n>.sh       the script of its jobs
//   <n>_<i>.log  what element i said
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace kintsugi::sim {

// An array of jobs.
struct Submission {
  std::int64_t number = 0;     // n
  std::filesystem::path file;  // <n>.tasks
  std::string name;            // of its jobs; no other submission has it
  std::string phase;
  std::vector<std::vector<std::string>> elements;  // keys of tasks

  std::filesystem::path script() const;
  std::filesystem::path log(std::size_t element) const;
};

// The n-th submission of a phase, with a name of its own; nothing is written.
Submission new_submission(const std::filesystem::path& campaign, const std::string& phase,
                          std::int64_t number, std::vector<std::vector<std::string>> elements);
void write_submission(const Submission& submission);
// All submissions of a phase, in order. Files that are none are left out.
std::vector<Submission> read_submissions(const std::filesystem::path& campaign, const std::string& phase);
std::vector<std::string> names_of(const std::vector<Submission>& submissions);

// Ends all jobs of a campaign that are still in the queue; returns how many arrays there were.
std::size_t cancel_on_slurm(const std::filesystem::path& folder);

// One line of a `.tasks` file: what a job does.
struct WorkList {
  std::string phase;
  std::vector<std::string> keys;
};
// `place`: "FILE:LINE", lines after the first counted from 0. Throws common::InputError.
WorkList read_work(const std::string& place);

}  // namespace kintsugi::sim

// What `kintsugi campaign status` shows of a phase, and where it comes from: small files in `.status` of the
// campaign's folder. They say what was to be done and who works on it, so that any process on any machine
// that sees the folder can tell how far it is without reading the campaign's inputs; no result depends on
// them.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "sim/phase.h"

namespace kintsugi::sim {

// Writes the list of the phase's tasks, and which were missing.
void begin_status(const Phase& phase);

// A task that this process is working on, for as long as it lives. Never throws: work does not depend on it.
class TaskNote {
 public:
  TaskNote(const Phase& phase, const Task& task);
  ~TaskNote();
  TaskNote(const TaskNote&) = delete;
  TaskNote& operator=(const TaskNote&) = delete;
  // Units of work done since the last call.
  void add(std::int64_t units);

 private:
  void write() const;
  std::filesystem::path file_;
  std::int64_t done_ = 0;
  std::chrono::steady_clock::time_point written_;
};

struct PhaseStatus {
  std::string unit;
  std::int64_t tasks = 0, done = 0, working = 0;
  std::int64_t work = 0, work_done = 0;  // of all tasks, in `unit`
  std::optional<double> seconds_since_result;
  std::optional<double> seconds_left;  // at the rate since the phase was last begun; absent without a rate
};

// Nothing if the phase was not begun. A task counts as done if its result file is there, and newer than the
// list if it was missing then.
std::optional<PhaseStatus> read_status(const std::filesystem::path& folder, const std::string& phase);

}  // namespace kintsugi::sim

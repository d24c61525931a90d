// Seconds that the work of a campaign took, stage by stage. They differ from run to run, so they stand in
// files of their own (tasks/timings/, timings.csv) and in no other.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "common/stopwatch.h"

namespace kintsugi::sim {

struct StageTime {
  common::Seconds seconds;
  std::int64_t count = 0;  // steps of `retraining`, otherwise how often
  StageTime& operator+=(const StageTime& other) {
    seconds += other.seconds;
    count += other.count;
    return *this;
  }
};

// By stage: "shared_repair" (what repairs of all chips have in common, done by each worker with its first
// one), "mapping", "compensation", "batch_norm", "checks" (accuracies on decision images), "retraining", and
// "experiment", which is what no product would do: test images, and float and fault-free figures beside them.
using StageTimes = std::map<std::string, StageTime>;

// tasks/timings/<phase>/<key>.csv. Reading gives nothing if there is no such file or it is damaged.
void write_timings(const std::filesystem::path& folder, const std::string& phase, const std::string& key,
                   const StageTimes& times);
std::optional<StageTimes> read_timings(const std::filesystem::path& folder, const std::string& phase,
                                       const std::string& key);

// All tasks of a phase together.
struct PhaseTimes {
  std::string phase;
  std::int64_t tasks = 0;
  StageTimes stages;
};
// Of every phase that has left any, by name.
std::vector<PhaseTimes> phase_timings(const std::filesystem::path& folder);

}  // namespace kintsugi::sim

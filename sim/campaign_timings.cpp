#include "sim/campaign_timings.h"

#include <fmt/format.h>

#include "common/csv.h"
#include "common/diagnostics.h"
#include "common/files.h"
#include "common/text.h"

namespace kintsugi::sim {
namespace {

std::filesystem::path file_of(const std::filesystem::path& folder, const std::string& phase,
                              const std::string& key) {
  return folder / "tasks" / "timings" / phase / (key + ".csv");
}

}  // namespace

void write_timings(const std::filesystem::path& folder, const std::string& phase, const std::string& key,
                   const StageTimes& times) {
  std::string text = "stage,cpu_seconds,wall_seconds,count\n";
  for (const auto& [stage, time] : times)
    text += fmt::format("{},{:.6f},{:.6f},{}\n", stage, time.seconds.cpu, time.seconds.wall, time.count);
  common::write_file_atomic(file_of(folder, phase, key), text);
}

std::optional<StageTimes> read_timings(const std::filesystem::path& folder, const std::string& phase,
                                       const std::string& key) {
  const std::filesystem::path file = file_of(folder, phase, key);
  std::error_code code;
  if (!std::filesystem::exists(file, code)) return std::nullopt;
  common::Diagnostics diagnostics;
  const auto rows = common::parse_csv(common::read_file(file), file.string(), diagnostics);
  StageTimes times;
  for (std::size_t i = 1; i < rows.size(); ++i) {
    if (rows[i].cells.size() != 4) return std::nullopt;
    const auto cpu = common::parse_real(rows[i].cells[1].text);
    const auto wall = common::parse_real(rows[i].cells[2].text);
    const auto count = common::parse_integer(rows[i].cells[3].text);
    if (!cpu || !wall || !count) return std::nullopt;
    times[rows[i].cells[0].text] = {{*cpu, *wall}, *count};
  }
  return times;
}

std::vector<PhaseTimes> phase_timings(const std::filesystem::path& folder) {
  std::map<std::string, PhaseTimes> phases;
  std::error_code code;
  for (std::filesystem::recursive_directory_iterator at(folder / "tasks" / "timings", code), end;
       !code && at != end; at.increment(code)) {
    const std::filesystem::path& file = at->path();
    if (file.extension() != ".csv") continue;
    const std::string phase = file.parent_path().filename().string();
    const auto times = read_timings(folder, phase, file.stem().string());
    if (!times) continue;
    PhaseTimes& sum = phases[phase];
    sum.phase = phase;
    ++sum.tasks;
    for (const auto& [stage, time] : *times) sum.stages[stage] += time;
  }
  std::vector<PhaseTimes> all;
  for (auto& [name, phase] : phases) all.push_back(std::move(phase));
  return all;
}

}  // namespace kintsugi::sim

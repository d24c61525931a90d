#include "sim/phase_status.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <sstream>

#include "common/csv.h"
#include "common/files.h"
#include "common/text.h"

namespace kintsugi::sim {
namespace {

namespace fs = std::filesystem;

constexpr auto kHeader = "key,work,missing,result";
// A worker on another machine that wrote nothing for so long is counted as gone.
constexpr double kSilentSeconds = 120;
constexpr double kSecondsPerNote = 5;

fs::path list_file(const fs::path& folder, const std::string& phase) {
  return folder / ".status" / (phase + ".csv");
}

fs::path notes_folder(const fs::path& folder, const std::string& phase) {
  return folder / ".status" / phase;
}

double age(fs::file_time_type time) {
  return std::chrono::duration<double>(fs::file_time_type::clock::now() - time).count();
}

// "host pid units" of a note; nothing if its process is gone.
std::optional<std::int64_t> units_of_living(const fs::path& note) {
  std::error_code code;
  const auto written = fs::last_write_time(note, code);
  std::ifstream file(note);
  std::string host;
  pid_t pid = 0;
  std::int64_t units = 0;
  if (code || !(file >> host >> pid >> units) || pid < 1) return std::nullopt;
  const bool here = host == common::host_name();
  const bool lives = here ? common::process_runs(pid) : age(written) < kSilentSeconds;
  return lives ? std::optional(units) : std::nullopt;
}

}  // namespace

void begin_status(const Phase& phase) {
  std::vector<bool> missing(phase.tasks.size());
  for (const std::size_t task : phase.missing) missing[task] = true;
  std::string text = fmt::format("# unit {}\n{}\n", phase.unit, kHeader);
  for (std::size_t i = 0; i < phase.tasks.size(); ++i) {
    const Task& task = phase.tasks[i];
    text += fmt::format("{},{},{},{}\n", common::csv_cell(task.key), task.work, missing[i] ? 1 : 0,
                        common::csv_cell(task.result.lexically_relative(phase.folder).string()));
  }
  std::error_code code;
  fs::remove_all(notes_folder(phase.folder, phase.name), code);
  common::write_file_atomic(list_file(phase.folder, phase.name), text);
}

TaskNote::TaskNote(const Phase& phase, const Task& task)
    : file_(notes_folder(phase.folder, phase.name) / task.key), written_(std::chrono::steady_clock::now()) {
  std::error_code code;
  fs::create_directories(file_.parent_path(), code);
  write();
}

TaskNote::~TaskNote() {
  std::error_code code;
  fs::remove(file_, code);
}

void TaskNote::add(std::int64_t units) {
  done_ += units;
  const auto now = std::chrono::steady_clock::now();
  if (std::chrono::duration<double>(now - written_).count() < kSecondsPerNote) return;
  written_ = now;
  write();
}

void TaskNote::write() const {
  std::ofstream(file_) << common::host_name() << ' ' << ::getpid() << ' ' << done_ << '\n';
}

std::optional<PhaseStatus> read_status(const fs::path& folder, const std::string& phase) {
  const fs::path file = list_file(folder, phase);
  std::error_code code;
  const auto begun = fs::last_write_time(file, code);
  if (code) return std::nullopt;
  const std::string text = common::read_file(file);
  common::Diagnostics diagnostics;
  const auto rows = common::parse_csv(text, file.string(), diagnostics);
  PhaseStatus status;
  static constexpr std::string_view kUnit = "# unit ";
  if (text.starts_with(kUnit)) status.unit = text.substr(kUnit.size(), text.find('\n') - kUnit.size());
  std::int64_t work_since = 0;
  std::optional<fs::file_time_type> newest;
  for (std::size_t i = 1; i < rows.size(); ++i) {
    const auto& cells = rows[i].cells;
    const auto work = cells.size() == 4 ? common::parse_integer(cells[1].text) : std::nullopt;
    if (!work) continue;
    ++status.tasks;
    status.work += *work;
    const bool was_missing = cells[2].text == "1";
    const auto made = fs::last_write_time(folder / cells[3].text, code);
    if (!code && (!was_missing || made >= begun)) {
      ++status.done;
      status.work_done += *work;
      if (was_missing) work_since += *work;
      newest = std::max(newest.value_or(made), made);
      continue;
    }
    if (const auto units = units_of_living(notes_folder(folder, phase) / cells[0].text)) {
      ++status.working;
      status.work_done += std::min(*units, *work);
      work_since += std::min(*units, *work);
    }
  }
  if (newest) status.seconds_since_result = std::max(0.0, age(*newest));
  if (status.working > 0 && work_since > 0)
    status.seconds_left =
        age(begun) * static_cast<double>(status.work - status.work_done) / static_cast<double>(work_since);
  return status;
}

}  // namespace kintsugi::sim

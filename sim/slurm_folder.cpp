#include "sim/slurm_folder.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <set>
#include <system_error>

#include "common/diagnostics.h"
#include "common/files.h"
#include "common/sha256.h"
#include "common/text.h"
#include "sim/slurm_queue.h"

namespace kintsugi::sim {
namespace {

using common::InputError;

std::vector<std::string> words_of(const std::string& line) {
  std::vector<std::string> words;
  for (std::size_t begin = 0; begin < line.size();) {
    const std::size_t end = std::min(line.find(' ', begin), line.size());
    if (end > begin) words.push_back(line.substr(begin, end - begin));
    begin = end + 1;
  }
  return words;
}

// Nothing if it is not one.
std::optional<Submission> read_submission(const std::filesystem::path& file) {
  const auto number = common::parse_integer(file.stem().string());
  if (!number || file.extension() != ".tasks") return std::nullopt;
  const std::string text = common::read_file(file);
  Submission submission;
  submission.number = *number;
  submission.file = file;
  std::size_t begin = 0;
  for (bool first = true; begin < text.size(); first = false) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    const auto words = words_of(text.substr(begin, end - begin));
    begin = end + 1;
    if (!first) {
      submission.elements.push_back(words);
      continue;
    }
    if (words.size() != 5 || words[0] != "#" || words[1] != "job" || words[3] != "phase") return std::nullopt;
    submission.name = words[2];
    submission.phase = words[4];
  }
  if (submission.name.empty()) return std::nullopt;
  return submission;
}

}  // namespace

std::filesystem::path Submission::script() const {
  return std::filesystem::path(file).replace_extension(".sh");
}

std::filesystem::path Submission::log(std::size_t element) const {
  return file.parent_path() / fmt::format("{}_{}.log", file.stem().string(), element);
}

Submission new_submission(const std::filesystem::path& campaign, const std::string& phase,
                          std::int64_t number, std::vector<std::vector<std::string>> elements) {
  Submission submission;
  submission.number = number;
  submission.file = campaign / "slurm" / phase / fmt::format("{}.tasks", number);
  submission.phase = phase;
  submission.elements = std::move(elements);
  const auto now = std::chrono::system_clock::now().time_since_epoch().count();
  submission.name =
      "kintsugi-" +
      common::sha256(fmt::format("{} {} {}", submission.file.string(), ::getpid(), now)).substr(0, 12);
  return submission;
}

void write_submission(const Submission& submission) {
  std::string text = fmt::format("# job {} phase {}\n", submission.name, submission.phase);
  for (const auto& keys : submission.elements) text += common::join(keys, " ") + "\n";
  common::write_file_atomic(submission.file, text);
}

std::vector<Submission> read_submissions(const std::filesystem::path& campaign, const std::string& phase) {
  std::vector<Submission> found;
  std::error_code code;
  for (const auto& entry : std::filesystem::directory_iterator(campaign / "slurm" / phase, code))
    if (auto submission = read_submission(entry.path())) found.push_back(std::move(*submission));
  std::sort(found.begin(), found.end(), [](const auto& a, const auto& b) { return a.number < b.number; });
  return found;
}

std::vector<std::string> names_of(const std::vector<Submission>& submissions) {
  std::vector<std::string> names;
  for (const Submission& submission : submissions) names.push_back(submission.name);
  return names;
}

std::size_t cancel_on_slurm(const std::filesystem::path& folder) {
  std::vector<std::string> names;
  std::error_code code;
  for (const auto& phase : std::filesystem::directory_iterator(folder / "slurm", code))
    for (const std::string& name : names_of(read_submissions(folder, phase.path().filename().string())))
      names.push_back(name);
  if (names.empty()) return 0;
  const SlurmAnswer answer = ask_queue(names);
  if (!answer.entries)
    throw InputError({folder.string()},
                     fmt::format("squeue does not answer ({}), so this campaign's jobs cannot be "
                                 "ended; try again",
                                 answer.problem));
  std::set<std::string> jobs;
  for (const QueueEntry& entry : *answer.entries)
    if (entry.live || entry.stuck) jobs.insert(fmt::format("{}", entry.job));
  cancel_jobs({jobs.begin(), jobs.end()});
  return jobs.size();
}

WorkList read_work(const std::string& place) {
  const std::size_t colon = place.rfind(':');
  const auto line =
      colon == std::string::npos ? std::nullopt : common::parse_integer(place.substr(colon + 1));
  if (!line || *line < 0)
    throw InputError(
        fmt::format("--list is '{}'; it is FILE:LINE, as the executor's scripts have it", place));
  const std::filesystem::path file = place.substr(0, colon);
  std::error_code code;
  if (!std::filesystem::exists(file, code))
    throw InputError(
        {file.string()},
        "this machine does not see the list of tasks; a campaign's folder must be on a file system that "
        "all nodes share");
  const auto submission = read_submission(file);
  if (!submission || static_cast<std::size_t>(*line) >= submission->elements.size())
    throw InputError({file.string()}, fmt::format("there is no line {} of tasks in this file", *line));
  return {submission->phase, submission->elements[static_cast<std::size_t>(*line)]};
}

}  // namespace kintsugi::sim

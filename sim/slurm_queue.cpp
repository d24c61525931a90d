#include "sim/slurm_queue.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <system_error>

#include "common/diagnostics.h"
#include "common/text.h"

extern char** environ;

namespace kintsugi::sim {
namespace {

using common::InputError;

struct ProgramResult {
  int status = 0;  // of exit; 128 + signal
  std::string output;
  std::string errors;
};

std::string trimmed(const std::string& text) {
  const std::size_t end = text.find_last_not_of(" \t\r\n");
  return end == std::string::npos ? std::string() : text.substr(0, end + 1);
}

// Runs a program found on PATH and collects what it says. Throws InputError if there is none.
ProgramResult run_program(const std::vector<std::string>& words) {
  std::vector<char*> arguments;
  for (const std::string& word : words) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  int output[2], errors[2];
  if (::pipe2(output, O_CLOEXEC) != 0) throw std::system_error(errno, std::generic_category(), "pipe");
  if (::pipe2(errors, O_CLOEXEC) != 0) throw std::system_error(errno, std::generic_category(), "pipe");
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  ::posix_spawn_file_actions_adddup2(&actions, output[1], 1);
  ::posix_spawn_file_actions_adddup2(&actions, errors[1], 2);
  pid_t pid = -1;
  const int failed = ::posix_spawnp(&pid, arguments[0], &actions, nullptr, arguments.data(), environ);
  ::posix_spawn_file_actions_destroy(&actions);
  ::close(output[1]);
  ::close(errors[1]);
  ProgramResult result;
  std::array<pollfd, 2> ends{{{output[0], POLLIN, 0}, {errors[0], POLLIN, 0}}};
  int open = failed == 0 ? 2 : 0;
  while (open > 0) {
    if (::poll(ends.data(), ends.size(), -1) < 0 && errno != EINTR) break;
    for (std::size_t i = 0; i < ends.size(); ++i) {
      if (ends[i].fd < 0 || ends[i].revents == 0) continue;
      char buffer[4096];
      const ssize_t n = ::read(ends[i].fd, buffer, sizeof buffer);
      if (n > 0) {
        (i == 0 ? result.output : result.errors).append(buffer, static_cast<std::size_t>(n));
      } else if (n == 0 || errno != EINTR) {
        ends[i].fd = -1;
        --open;
      }
    }
  }
  ::close(output[0]);
  ::close(errors[0]);
  if (failed != 0)
    throw InputError(fmt::format(
        "there is no '{}' on this machine ({}), and the campaign's executor is Slurm; run this where "
        "Slurm's programs are, or choose another with '--set campaign.executor.name=local'",
        words[0], std::generic_category().message(failed)));
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  result.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return result;
}

// States after which a job leaves nothing more. A preempted or lost job that is put back into the queue is
// pending again.
bool has_ended(const std::string& state) {
  static constexpr const char* kEnded[] = {"COMPLETED", "FAILED",   "TIMEOUT",   "CANCELLED",     "NODE_FAIL",
                                           "BOOT_FAIL", "DEADLINE", "PREEMPTED", "OUT_OF_MEMORY", "REVOKED"};
  return std::any_of(std::begin(kEnded), std::end(kEnded),
                     [&](const char* word) { return state.starts_with(word); });
}

std::vector<std::string> split(const std::string& text, char at) {
  std::vector<std::string> parts;
  for (std::size_t begin = 0;;) {
    const std::size_t end = std::min(text.find(at, begin), text.size());
    parts.push_back(text.substr(begin, end - begin));
    if (end == text.size()) return parts;
    begin = end + 1;
  }
}

}  // namespace

SlurmAnswer ask_queue(const std::vector<std::string>& names) {
  SlurmAnswer answer;
  if (names.empty()) {
    answer.entries.emplace();
    return answer;
  }
  // -a: hidden partitions too; -r: a line an element.
  const ProgramResult result = run_program({"squeue", "-a", "-t", "all", "-r", "-h",
                                            "--name=" + common::join(names, ","), "-o", "%j|%F|%K|%T|%r"});
  if (result.status != 0) {
    answer.problem = trimmed(result.errors);
    return answer;
  }
  answer.entries.emplace();
  for (const std::string& line : split(result.output, '\n')) {
    const auto fields = split(line, '|');
    if (fields.size() != 5) continue;
    const auto job = common::parse_integer(fields[1]);
    const auto element = common::parse_integer(fields[2]);
    if (!job) continue;
    // "launch failed requeued held"; a job keeps its reason after scancel.
    const bool ended = has_ended(fields[3]);
    const bool stuck = !ended && fields[4].find("requeued") != std::string::npos &&
                       fields[4].find("held") != std::string::npos;
    answer.entries->push_back(
        {fields[0], *job, element.value_or(0), fields[3], !stuck && !ended, stuck, fields[4]});
  }
  return answer;
}

Submitted submit_job(const std::vector<std::string>& options, const std::string& script) {
  std::vector<std::string> words{"sbatch", "--parsable"};
  words.insert(words.end(), options.begin(), options.end());
  words.push_back(script);
  const ProgramResult result = run_program(words);
  Submitted submitted;
  // "17" or "17;cluster"
  if (result.status == 0) submitted.job = common::parse_integer(split(trimmed(result.output), ';').front());
  if (submitted.job) return submitted;
  submitted.problem = trimmed(result.errors.empty() ? result.output : result.errors);
  for (const char* sign : {"Unable to contact", "Socket timed out", "Connection refused", "temporarily",
                           "Resource temporarily unavailable", "Zero Bytes were transmitted"})
    submitted.transient = submitted.transient || submitted.problem.find(sign) != std::string::npos;
  return submitted;
}

std::optional<std::int64_t> largest_array() {
  const ProgramResult result = run_program({"scontrol", "show", "config"});
  if (result.status != 0) return std::nullopt;
  for (const std::string& line : split(result.output, '\n')) {
    if (!line.starts_with("MaxArraySize")) continue;
    const std::size_t value = line.find_last_of(" =");
    return common::parse_integer(line.substr(value + 1));
  }
  return std::nullopt;
}

void cancel_jobs(const std::vector<std::string>& jobs) {
  if (jobs.empty()) return;
  std::vector<std::string> words{"scancel", "--quiet"};
  words.insert(words.end(), jobs.begin(), jobs.end());
  run_program(words);
}

std::string shell_quote(const std::string& word) {
  std::string quoted = "'";
  for (const char c : word) quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return quoted + "'";
}

}  // namespace kintsugi::sim

#include "sim/regress_runner.h"

#include <fmt/format.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <map>
#include <system_error>

#include "common/diagnostics.h"
#include "common/files.h"

namespace kintsugi::sim {
namespace {

namespace fs = std::filesystem;

// The first letter of a child's file says what follows.
constexpr char kRecord = 'R';
constexpr char kBadInput = 'I';
constexpr char kFailure = 'F';

[[noreturn]] void child(const ExecutionRequest& request, const fs::path& answer) {
  std::string text;
  try {
    text = kRecord + to_json(make_record(execute(request)));
  } catch (const common::InputError& problem) {
    text = kBadInput + std::string(problem.what());
  } catch (const std::exception& problem) {
    text = kFailure + std::string(problem.what());
  }
  // Not atomic: the parent reads it only after this process has ended well, and it is gone afterwards.
  std::ofstream file(answer, std::ios::binary);
  file << text;
  file.close();
  const int status = file ? 0 : 1;
  std::cout.flush();
  std::fflush(nullptr);
  // Skips the destructors of a large grid of modules, which take longer than its simulation.
  std::_Exit(status);
}

RegressOutcome read_answer(const fs::path& answer, int status) {
  RegressOutcome outcome;
  if (WIFSIGNALED(status)) {
    outcome.failure = fmt::format("the simulation was ended by signal {} ({})", WTERMSIG(status),
                                  ::strsignal(WTERMSIG(status)));
  } else if (WEXITSTATUS(status) != 0) {
    outcome.failure = fmt::format("the simulation ended with status {} and no result (is the disk full?)",
                                  WEXITSTATUS(status));
  } else {
    const std::string text = common::read_file(answer);
    if (text[0] == kRecord)
      outcome.record = record_from_json(text.substr(1));
    else
      (text[0] == kBadInput ? outcome.bad_input : outcome.failure) = text.substr(1);
  }
  return outcome;
}

// A folder for the children's answers, and the children themselves: none outlives it.
class Nursery {
 public:
  Nursery() {
    std::string pattern = (fs::temp_directory_path() / "kintsugi-regress-XXXXXX").string();
    if (::mkdtemp(pattern.data()) == nullptr)
      throw common::InputError({pattern},
                               "cannot make a temporary folder; set TMPDIR to a folder that can be written");
    folder_ = pattern;
  }
  ~Nursery() {
    for (const auto& [pid, index] : running_) {
      ::kill(pid, SIGKILL);
      ::waitpid(pid, nullptr, 0);
    }
    std::error_code code;
    fs::remove_all(folder_, code);
  }
  Nursery(const Nursery&) = delete;
  Nursery& operator=(const Nursery&) = delete;

  std::size_t running() const { return running_.size(); }

  void start(std::size_t index, const ExecutionRequest& request) {
    std::cout.flush();
    std::fflush(nullptr);
    const pid_t pid = ::fork();
    if (pid < 0) throw std::system_error(errno, std::generic_category(), "cannot start a process");
    if (pid == 0) child(request, answer(index));
    running_[pid] = index;
  }

  // Waits for any child.
  std::pair<std::size_t, RegressOutcome> next() {
    for (;;) {
      int status = 0;
      const pid_t pid = ::waitpid(-1, &status, 0);
      if (pid < 0 && errno == EINTR) continue;
      if (pid < 0) throw std::system_error(errno, std::generic_category(), "cannot wait for a process");
      const auto found = running_.find(pid);
      if (found == running_.end()) continue;
      const std::size_t index = found->second;
      running_.erase(found);
      return {index, read_answer(answer(index), status)};
    }
  }

 private:
  fs::path answer(std::size_t index) const { return folder_ / fmt::format("{}", index); }

  fs::path folder_;
  std::map<pid_t, std::size_t> running_;
};

}  // namespace

std::vector<RegressOutcome> run_in_children(const std::vector<ExecutionRequest>& requests, int parallel,
                                            const std::function<void(std::int64_t)>& finished) {
  std::vector<RegressOutcome> outcomes(requests.size());
  Nursery nursery;
  std::size_t started = 0;
  for (std::size_t done = 0; done < requests.size(); ++done) {
    while (started < requests.size() && nursery.running() < static_cast<std::size_t>(parallel)) {
      nursery.start(started, requests[started]);
      ++started;
    }
    auto [index, outcome] = nursery.next();
    outcomes[index] = std::move(outcome);
    finished(static_cast<std::int64_t>(done) + 1);
  }
  return outcomes;
}

}  // namespace kintsugi::sim

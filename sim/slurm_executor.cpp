#include "sim/slurm_executor.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <set>
#include <thread>

#include "common/diagnostics.h"
#include "common/files.h"
#include "common/progress.h"
#include "common/text.h"
#include "sim/phase_status.h"
#include "sim/slurm_folder.h"
#include "sim/slurm_queue.h"

extern char** environ;

namespace kintsugi::sim {
namespace {

using common::InputError;
using Clock = std::chrono::steady_clock;

// Submissions of one task by one process.
constexpr int kAttempts = 3;
constexpr std::size_t kLogLines = 12;
// Looks at a queue in which nothing runs, before the user hears why.
constexpr int kWaits = 4;

std::string last_lines(const std::string& text) {
  std::size_t begin = text.find_last_not_of("\n");
  if (begin == std::string::npos) return "  (empty)";
  for (std::size_t lines = 0; begin > 0; --begin)
    if (text[begin - 1] == '\n' && ++lines == kLogLines) break;
  std::string tail = "  ";
  for (const char c : text.substr(begin, text.find_last_not_of("\n") + 1 - begin))
    tail += c == '\n' ? std::string("\n  ") : std::string(1, c);
  return tail;
}

class SlurmPhase {
 public:
  SlurmPhase(const std::function<Phase()>& build, const CampaignRun& run)
      : build_(build),
        run_(run),
        phase_(build()),
        progress_(phase_.name, total_work(),
                  phase_.missing.empty() ? common::ProgressOutput::none : run.progress()) {}

  void run() {
    if (phase_.missing.size() < phase_.tasks.size() && !phase_.one_worker) say(done_before(phase_));
    if (phase_.missing.empty()) return;
    begin_status(phase_);
    read_earlier();
    double pause = std::min(0.5, run_.slurm->poll_seconds);
    while (true) {
      const bool news = look_at_queue();
      if (news) phase_ = build_();
      show();
      if (phase_.missing.empty()) return;
      if (queue_answers_) submit_lost();
      std::this_thread::sleep_for(std::chrono::duration<double>(pause));
      pause = std::min(pause * 1.5, run_.slurm->poll_seconds);
    }
  }

 private:
  std::int64_t total_work() const {
    std::int64_t total = 0;
    for (const Task& task : phase_.tasks) total += task.work;
    return total;
  }

  // Arrays that an earlier process submitted.
  void read_earlier() {
    submissions_ = read_submissions(phase_.folder, phase_.name);
    if (!submissions_.empty()) next_number_ = submissions_.back().number + 1;
  }

  // Of those, what is still at work goes on; the others are history.
  void adopt() {
    adopted_ = true;
    std::erase_if(submissions_, [&](const Submission& submission) {
      return std::none_of(live_.begin(), live_.end(),
                          [&](const auto& live) { return live.first == submission.name; });
    });
    for (const std::string& key : live_keys()) attempts_[key] = 1;
    if (!live_.empty())
      say(fmt::format("{}: {} job{} of an earlier run {} still in the queue", phase_.name, live_.size(),
                      live_.size() == 1 ? "" : "s", live_.size() == 1 ? "is" : "are"));
  }

  // True if files are worth a look: jobs have ended, or it is not known.
  bool look_at_queue() {
    const SlurmAnswer answer = ask_queue(names_of(submissions_));
    if (!answer.entries) {
      if (queue_answers_)
        say(fmt::format("{}: squeue does not answer ({}); waiting, results are counted meanwhile",
                        phase_.name, answer.problem));
      queue_answers_ = false;
      return true;
    }
    if (!queue_answers_) say(fmt::format("{}: squeue answers again", phase_.name));
    const bool came_back = !queue_answers_;
    queue_answers_ = true;
    std::set<std::pair<std::string, std::int64_t>> live;
    std::vector<std::string> stuck;
    for (const QueueEntry& entry : *answer.entries) {
      if (entry.live) live.emplace(entry.name, entry.element);
      if (entry.stuck) stuck.push_back(fmt::format("{}_{}", entry.job, entry.element));
    }
    if (!stuck.empty()) {
      say(fmt::format("{}: Slurm could not start {} and holds {}; taken out of the queue", phase_.name,
                      common::join(stuck), stuck.size() == 1 ? "it" : "them"));
      cancel_jobs(stuck);
    }
    tell_why_nothing_runs(*answer.entries);
    const bool news =
        came_back || live != live_ || live.empty() || !gone_since_.empty() || ++looks_ % 10 == 0;
    live_ = std::move(live);
    if (!adopted_) adopt();
    return news;
  }

  // A queue that waits for other people's jobs is Slurm's daily business; one that waits for nodes that do not
  // come back, for a limit or for an operator is the user's.
  void tell_why_nothing_runs(const std::vector<QueueEntry>& entries) {
    std::string reason;
    for (const QueueEntry& entry : entries) {
      if (!entry.live) continue;
      if (entry.state != "PENDING") reason = "Resources";
      if (reason.empty() || reason == "None") reason = entry.reason;
    }
    const bool usual =
        reason.empty() || reason == "None" || reason.starts_with("Priority") ||
        reason.starts_with("Resources") || reason.starts_with("BeginTime") || reason.starts_with("(null)");
    waits_ = usual ? 0 : waits_ + 1;
    if (waits_ < kWaits || reason == told_reason_) return;
    told_reason_ = reason;
    say(fmt::format("{}: none of its jobs runs; Slurm's reason: {}; waiting", phase_.name, reason));
  }

  void show() {
    std::int64_t left = 0;
    for (const std::size_t task : phase_.missing) left += phase_.tasks[task].work;
    const std::int64_t done = total_work() - left;
    if (done == shown_) return;
    shown_ = done;
    progress_.set(done, fmt::format("{} jobs in the queue", live_.size()));
  }

  std::set<std::string> live_keys() const {
    std::set<std::string> keys;
    for (const Submission& submission : submissions_)
      for (std::size_t i = 0; i < submission.elements.size(); ++i)
        if (live_.contains({submission.name, static_cast<std::int64_t>(i)}))
          keys.insert(submission.elements[i].begin(), submission.elements[i].end());
    return keys;
  }

  // Submits what is missing and in no live job. What was in one gets a moment first: on a network file system
  // a result may be seen later than its job's end.
  void submit_lost() {
    const std::set<std::string> live = live_keys();
    const Clock::time_point now = Clock::now();
    std::vector<std::string> wanted;
    std::map<std::string, Clock::time_point> gone;
    for (const std::size_t index : phase_.missing) {
      const Task& task = phase_.tasks[index];
      if (live.contains(task.key)) continue;
      if (const auto attempts = attempts_.find(task.key); attempts != attempts_.end()) {
        const auto known = gone_since_.find(task.key);
        const auto since = known == gone_since_.end() ? now : known->second;
        gone[task.key] = since;
        if (std::chrono::duration<double>(now - since).count() < std::min(run_.slurm->poll_seconds, 10.0))
          continue;
        if (attempts->second >= kAttempts) give_up(task);
      }
      wanted.push_back(task.key);
    }
    gone_since_ = std::move(gone);
    if (wanted.empty()) return;
    const auto again =
        std::count_if(wanted.begin(), wanted.end(), [&](const auto& key) { return attempts_.contains(key); });
    if (again > 0)
      say(fmt::format("{}: {} task{} left the queue without a result and {} submitted again", phase_.name,
                      again, again == 1 ? "" : "s", again == 1 ? "is" : "are"));
    submit(wanted);
  }

  void submit(const std::vector<std::string>& keys) {
    std::vector<std::vector<std::string>> elements;
    for (std::size_t i = 0; i < keys.size(); ++i) {
      if (i % static_cast<std::size_t>(run_.slurm->tasks_per_job) == 0) elements.emplace_back();
      elements.back().push_back(keys[i]);
    }
    if (!limit_) limit_ = run_.slurm->max_array_size ? run_.slurm->max_array_size : largest_array();
    // Slurm's own default, for a controller that does not say.
    const auto most = static_cast<std::size_t>(std::max<std::int64_t>(1, limit_.value_or(1001)));
    for (std::size_t begin = 0; begin < elements.size(); begin += most) {
      const std::size_t end = std::min(begin + most, elements.size());
      if (!submit_array({elements.begin() + static_cast<std::ptrdiff_t>(begin),
                         elements.begin() + static_cast<std::ptrdiff_t>(end)}))
        return;  // the rest when there is room, or when the controller answers
    }
  }

  bool submit_array(const std::vector<std::vector<std::string>>& elements) {
    Submission submission = new_submission(phase_.folder, phase_.name, next_number_++, elements);
    write_submission(submission);
    common::write_file_atomic(submission.script(), script_of(submission));
    const Submitted submitted = submit_job(options_of(submission), submission.script().string());
    if (submitted.job) {
      for (const auto& keys : elements)
        for (const std::string& key : keys) {
          ++attempts_[key];
          gone_since_.erase(key);
        }
      for (std::size_t i = 0; i < elements.size(); ++i)
        live_.emplace(submission.name, static_cast<std::int64_t>(i));
      submissions_.push_back(std::move(submission));
      say(fmt::format("{}: {} job{} submitted to Slurm, array {}", phase_.name, elements.size(),
                      elements.size() == 1 ? "" : "s", *submitted.job));
      return true;
    }
    if (submitted.transient) {
      // Perhaps it was taken all the same: its name will tell.
      submissions_.push_back(std::move(submission));
      say(fmt::format("{}: sbatch: {}; waiting", phase_.name, submitted.problem));
      return false;
    }
    std::error_code code;
    std::filesystem::remove(submission.file, code);
    std::filesystem::remove(submission.script(), code);
    if (!live_.empty()) {
      if (submitted.problem != refusal_)
        say(fmt::format("{}: sbatch: {}; trying again as jobs end", phase_.name, submitted.problem));
      refusal_ = submitted.problem;
      return false;
    }
    throw InputError(
        fmt::format("sbatch refused the jobs of phase '{}':\n  {}\ncorrect the campaign's section 'executor' "
                    "(partition, account, "
                    "time_limit, memory_gb, cpus_per_task, extra); what is done is kept, and the same "
                    "command goes on from here",
                    phase_.name, submitted.problem));
  }

  std::string script_of(const Submission& submission) const {
    std::string text =
        "#!/bin/sh\n# Made by kintsugi: element N of this array does line N, from 0, of the list in the last "
        "line.\n";
    for (char** variable = environ; *variable != nullptr; ++variable) {
      const std::string assignment = *variable;
      const std::size_t equals = assignment.find('=');
      if (assignment.starts_with("KINTSUGI_") && equals != std::string::npos)
        text += fmt::format("export {}={}\n", assignment.substr(0, equals),
                            shell_quote(assignment.substr(equals + 1)));
    }
    text += fmt::format("cd {} || exit\nexec", shell_quote(std::filesystem::current_path().string()));
    const std::vector<std::string> words{std::filesystem::read_symlink("/proc/self/exe").string(),
                                         "campaign",
                                         "work",
                                         std::filesystem::absolute(phase_.folder).string(),
                                         "--threads",
                                         fmt::format("{}", run_.slurm->cpus_per_task),
                                         "--list"};
    for (const std::string& word : words) text += fmt::format(" {}", shell_quote(word));
    return text + fmt::format(" {}:\"$SLURM_ARRAY_TASK_ID\"\n",
                              shell_quote(std::filesystem::absolute(submission.file).string()));
  }

  std::vector<std::string> options_of(const Submission& submission) const {
    const configs::SlurmConfig& config = *run_.slurm;
    std::vector<std::string> options = config.extra;
    options.push_back(fmt::format("--array=0-{}{}", submission.elements.size() - 1,
                                  run_.at_a_time ? fmt::format("%{}", *run_.at_a_time) : std::string()));
    options.push_back("--requeue");
    options.push_back("--job-name=" + submission.name);
    std::string logs = (submission.file.parent_path() / submission.file.stem()).string();
    for (std::size_t i = 0; (i = logs.find('%', i)) != std::string::npos; i += 2) logs.insert(i, 1, '%');
    options.push_back(fmt::format("--output={}_%a.log", logs));
    options.push_back("--open-mode=append");
    options.push_back(fmt::format("--cpus-per-task={}", config.cpus_per_task));
    if (!config.partition.empty()) options.push_back("--partition=" + config.partition);
    if (!config.account.empty()) options.push_back("--account=" + config.account);
    if (!config.time_limit.empty()) options.push_back("--time=" + config.time_limit);
    if (config.memory_gb)
      options.push_back(fmt::format("--mem={}M", static_cast<std::int64_t>(*config.memory_gb * 1024)));
    return options;
  }

  [[noreturn]] void give_up(const Task& task) const {
    std::string log = "it left no log; does every node see this folder?";
    for (const Submission& submission : submissions_)
      for (std::size_t i = 0; i < submission.elements.size(); ++i) {
        const auto& keys = submission.elements[i];
        std::error_code code;
        if (std::find(keys.begin(), keys.end(), task.key) == keys.end() ||
            !std::filesystem::exists(submission.log(i), code))
          continue;
        log = fmt::format("{} ends with\n{}", submission.log(i).string(),
                          last_lines(common::read_file(submission.log(i))));
      }
    throw InputError(fmt::format(
        "task '{}' of phase '{}': its Slurm job ended without a result {} times; {}\nother jobs of this "
        "campaign go "
        "on and their results are kept; once the cause is mended the same command goes on from here",
        task.name, phase_.name, kAttempts, log));
  }

  void say(const std::string& text) const {
    if (run_.quiet) return;
    fmt::print("{}\n", text);
    std::fflush(stdout);
  }

  const std::function<Phase()>& build_;
  const CampaignRun& run_;
  Phase phase_;
  common::Progress progress_;
  std::vector<Submission> submissions_;
  std::set<std::pair<std::string, std::int64_t>> live_;  // (name of the job, element)
  std::map<std::string, int> attempts_;
  std::map<std::string, Clock::time_point> gone_since_;
  std::optional<std::int64_t> limit_;
  std::int64_t next_number_ = 1;
  std::int64_t shown_ = -1;
  int looks_ = 0;
  bool queue_answers_ = true;
  bool adopted_ = false;
  std::string refusal_;
  int waits_ = 0;  // looks in a row at a queue in which nothing runs, for an unusual reason
  std::string told_reason_;
};

}  // namespace

void run_on_slurm(const std::function<Phase()>& build, const CampaignRun& run) {
  SlurmPhase(build, run).run();
}

}  // namespace kintsugi::sim

// kintsugi campaign status | resume | collect | cancel | work
#include "sim/campaign_command.h"

#include <fmt/format.h>
#include <signal.h>

#include <cerrno>
#include <chrono>
#include <filesystem>
#include <set>
#include <system_error>
#include <thread>

#include "common/diagnostics.h"
#include "sim/campaign_run.h"
#include "sim/campaign_steps.h"
#include "sim/folder_lock.h"
#include "sim/options.h"
#include "sim/slurm_folder.h"
#include "sim/sub_commands.h"

namespace kintsugi::sim {
namespace {

namespace fs = std::filesystem;
namespace po = boost::program_options;

// The folder says everything else.
void takes_a_folder(OptionParser& parser, const std::vector<std::string>& without) {
  parser.own().add_options()("folder", po::value<std::string>()->required()->value_name("D"),
                             "the campaign's folder: --out of the command that began it");
  parser.positional("folder", 1);
  for (const char* option : {"out", "seed", "set", "data-dir"}) parser.without(option);
  for (const std::string& option : without) parser.without(option);
}

// Waits until the lock is free or `seconds` have passed.
bool released(const fs::path& folder, double seconds) {
  using Clock = std::chrono::steady_clock;
  const auto end = Clock::now() + std::chrono::duration<double>(seconds);
  while (lock_holder(folder)) {
    if (Clock::now() > end) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  return true;
}

std::string cancelled_text(std::size_t jobs) {
  return jobs == 0 ? std::string()
                   : fmt::format(", and ended {} array{} of Slurm jobs", jobs, jobs == 1 ? "" : "s");
}

}  // namespace

int campaign_resume(const std::vector<std::string>& arguments) {
  OptionParser parser("kintsugi campaign resume D",
                      "Goes on with the command that was last given for this campaign (D/command.yaml says "
                      "which). Finished tasks\n"
                      "stay, tasks that were interrupted go on from their checkpoints; the bytes at the end "
                      "are those of a run that\n"
                      "was never interrupted. Changed inputs are refused.",
                      "kintsugi campaign resume quickstart");
  takes_a_folder(parser, {});
  add_run_options(parser);
  if (!parser.parse(arguments)) return kExitDone;
  const CampaignRun run = campaign_run(parser);
  const fs::path folder = parser.text("folder");
  const CampaignRecord record = read_record(folder);
  if (!run.quiet) fmt::print("kintsugi {} --campaign {}\n", record.command(), record.campaign.string());
  return run_campaign(record, folder, run);
}

int campaign_collect(const std::vector<std::string>& arguments) {
  OptionParser parser(
      "kintsugi campaign collect D",
      "Makes the campaign's tables from the results that are there, without computing anything. Where "
      "results\nare missing it says which and exits with status 1; tables of the phases before are "
      "made.",
      "kintsugi campaign collect quickstart");
  takes_a_folder(parser, {"threads"});
  if (!parser.parse(arguments)) return kExitDone;
  const fs::path folder = parser.text("folder");
  CampaignRun run;
  run.compute = false;
  run.quiet = parser.common().quiet;
  return run_campaign(read_record(folder), folder, run);
}

int campaign_cancel(const std::vector<std::string>& arguments) {
  OptionParser parser("kintsugi campaign cancel D",
                      "Stops the process that is at work on the campaign, with its workers or its Slurm "
                      "jobs. Finished tasks and "
                      "checkpoints\nstay; 'kintsugi campaign resume' goes on.",
                      "kintsugi campaign cancel quickstart");
  takes_a_folder(parser, {"threads"});
  if (!parser.parse(arguments)) return kExitDone;
  const fs::path folder = parser.text("folder");
  read_record(folder);
  const auto holder = lock_holder(folder);
  if (!holder) {
    const std::size_t jobs = cancel_on_slurm(folder);
    fmt::print("no process is at work on this campaign{}\n", cancelled_text(jobs));
    return kExitDone;
  }
  if (!holder->verified)
    throw common::InputError(
        {folder.string()},
        fmt::format(
            "process {} on {} is at work on this campaign, and it cannot be stopped from here; give this "
            "command on that machine",
            holder->pid, holder->host));
  if (::kill(holder->pid, SIGTERM) != 0 && errno != ESRCH)
    throw common::InputError({folder.string()},
                             fmt::format("process {} is at work on this campaign and cannot be stopped: {}",
                                         holder->pid, std::generic_category().message(errno)));
  constexpr double kSeconds = 20;
  if (!released(folder, kSeconds))
    throw common::InputError(
        {folder.string()},
        fmt::format(
            "process {} was told to stop, but is still there; 'kill -9 {}' does no harm to the results",
            holder->pid, holder->pid));
  const std::size_t jobs = cancel_on_slurm(folder);
  fmt::print("stopped process {}{}; 'kintsugi campaign resume {}' goes on\n", holder->pid,
             cancelled_text(jobs), folder.string());
  return kExitDone;
}

int campaign_work(const std::vector<std::string>& arguments) {
  OptionParser parser(
      "kintsugi campaign work D (--phase P --task K | --list FILE:LINE)",
      "Does single tasks of a campaign in this process, as a cluster's jobs do: those whose results "
      "are\nmissing. The phases before must be complete. Any number of such processes may run at a "
      "time.",
      "kintsugi campaign work quickstart --phase characterize --task rate_0.1_repeat_0");
  takes_a_folder(parser, {});
  parser.own().add_options()("phase", po::value<std::string>()->value_name("P"),
                             "the phase, as 'kintsugi campaign status' names it")(
      "task", po::value<std::vector<std::string>>()->value_name("K"),
      "the task's key, as D/.status/P.csv lists it; may be repeated")(
      "list", po::value<std::string>()->value_name("FILE:LINE"),
      "instead of the two: a line of D/slurm/P/N.tasks, from 0");
  if (!parser.parse(arguments)) return kExitDone;
  CampaignRun run;
  run.workers = 1;
  if (parser.has("threads")) run.threads = parser.common().threads;
  if (parser.has("list") ? parser.has("phase") || parser.has("task")
                         : !parser.has("phase") || !parser.has("task"))
    throw common::InputError(
        "kintsugi campaign work: error: give --phase and --task, or --list alone, to say what is to be done");
  const WorkList work = parser.has("list") ? read_work(parser.text("list"))
                                           : WorkList{parser.text("phase"),
                                                      parser.values()["task"].as<std::vector<std::string>>()};
  const fs::path folder = parser.text("folder");
  const auto campaign = open_campaign(read_record(folder), folder, run);  // what its phases refer to
  run_some(campaign(work.phase), work.keys);
  return kExitDone;
}

int campaign_command(const std::vector<std::string>& arguments) {
  static constexpr SubCommand kSubCommands[] = {
      {"status", "how far it is: phases, tasks, time left", campaign_status},
      {"resume", "go on with it", campaign_resume},
      {"collect", "make the tables from the results that are there", campaign_collect},
      {"cancel", "stop the process that is at work on it", campaign_cancel},
      {"work", "do single tasks of it, as a cluster's jobs do", campaign_work},
  };
  return run_sub_command(
      {"campaign", "What 'kintsugi reduce' and 'kintsugi overclock' have begun in a folder.",
       "  kintsugi campaign status quickstart\n", kSubCommands},
      arguments);
}

}  // namespace kintsugi::sim

#include "sim/campaign_run.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <thread>

#include "common/diagnostics.h"
#include "common/text.h"

namespace kintsugi::sim {

namespace po = boost::program_options;

common::ProgressOutput CampaignRun::progress() const {
  return progress_output(quiet, json_progress);
}

void add_run_options(OptionParser& parser) {
  parser.own().add_options()("workers", po::value<std::string>()->value_name("N"),
                             "worker processes (default: executor.workers of the campaign)")(
      "checkpoint-seconds", po::value<std::string>()->value_name("S"),
      "seconds between two checkpoints of a task (default 60): what a kill can cost");
  add_json_progress(parser);
}

CampaignRun campaign_run(const OptionParser& parser) {
  CampaignRun run;
  if (parser.has("workers")) {
    const auto value = common::parse_integer(parser.text("workers"));
    if (!value || *value < 1 || *value > 1024)
      throw common::InputError(
          fmt::format("--workers is '{}'; it must be a whole number from 1 to 1024", parser.text("workers")));
    run.workers = static_cast<int>(*value);
  }
  if (parser.has("threads")) run.threads = parser.common().threads;
  if (parser.has("checkpoint-seconds")) {
    const auto value = common::parse_real(parser.text("checkpoint-seconds"));
    if (!value || !(*value >= 0) || *value > 1e9)
      throw common::InputError(
          fmt::format("--checkpoint-seconds is '{}'; it must be a number from 0 to 1000000000",
                      parser.text("checkpoint-seconds")));
    run.checkpoint_seconds = *value;
  }
  run.quiet = parser.common().quiet;
  run.json_progress = parser.values()["json-progress"].as<bool>();
  return run;
}

CampaignRun settled(CampaignRun run, const configs::ExecutorConfig& executor) {
  if (executor.slurm && run.role == Role::coordinator) {
    run.slurm = executor.slurm;
    run.at_a_time = run.workers > 0 ? std::optional(run.workers) : executor.workers;
  }
  if (run.workers == 0) run.workers = executor.workers.value_or(1);
  const int cores = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  if (run.threads == 0) run.threads = std::max(1, cores / run.workers);
  return run;
}

}  // namespace kintsugi::sim

#include "sim/campaign_steps.h"

#include <fmt/format.h>

#include <memory>

#include "common/diagnostics.h"
#include "sim/campaign.h"
#include "sim/overclock.h"

namespace kintsugi::sim {
namespace {

namespace fs = std::filesystem;

// Paths on the command line count from the folder that the command was given in, and some are written down as
// they were given. Returns the campaign's folder as seen from there.
fs::path enter_working_folder(const CampaignRecord& record, const fs::path& folder) {
  if (record.working_folder == fs::current_path()) return folder;
  const fs::path absolute = fs::absolute(folder);
  std::error_code code;
  fs::current_path(record.working_folder, code);
  if (code)
    throw common::InputError(
        {record.working_folder.string()},
        fmt::format(
            "the campaign was begun in this folder, which its inputs' paths count from, and it cannot be "
            "entered: {}",
            code.message()));
  return absolute;
}

CampaignInputs reduce_inputs(const CampaignRecord& record) {
  return load_campaign(record.campaign, record.set, record.seed, record.data_dir);
}

OverclockInputs overclock_inputs(const CampaignRecord& record) {
  return load_overclock(record.campaign, record.set, record.seed, record.data_dir);
}

int run_reduce(const CampaignRecord& record, const fs::path& folder, const CampaignRun& asked, bool enforce) {
  CampaignInputs inputs = reduce_inputs(record);
  const CampaignRun run = settled(asked, inputs.config.executor);
  const std::string& step = record.step;
  Campaign campaign(std::move(inputs), folder, run);
  if (run.compute) write_record(folder, record);
  if (step == "characterize" || step == "all") campaign.characterize();
  if (step == "plan" || step == "all") campaign.plan();
  const bool judges = step == "retrain" || step == "all";
  if (judges || step == "compare") campaign.retrain(step != "retrain");
  if (step == "compare" || step == "all") campaign.compare();
  if (!run.quiet) fmt::print("\nResults are in {}\n", folder.string());
  return judges && enforce && !campaign.all_pass() ? kExitNo : kExitDone;
}

int run_overclock(const CampaignRecord& record, const fs::path& folder, const CampaignRun& asked) {
  OverclockInputs inputs = overclock_inputs(record);
  const CampaignRun run = settled(asked, inputs.config.executor);
  Overclock campaign(std::move(inputs), folder, run);
  if (run.compute) write_record(folder, record);
  campaign.run();
  if (!run.quiet) fmt::print("\nResults are in {}\n", folder.string());
  return kExitDone;
}

}  // namespace

int run_campaign(const CampaignRecord& record, const fs::path& given, const CampaignRun& run, bool enforce) {
  try {
    const fs::path folder = enter_working_folder(record, given);
    return record.kind == CampaignKind::overclock ? run_overclock(record, folder, run)
                                                  : run_reduce(record, folder, run, enforce);
  } catch (const IncompletePhase& incomplete) {
    fmt::print("{}\n", incomplete.what());
    return kExitNo;
  }
}

std::function<Phase(const std::string&)> open_campaign(const CampaignRecord& record, const fs::path& given,
                                                       CampaignRun run) {
  const fs::path folder = enter_working_folder(record, given);
  run.role = Role::worker;
  if (record.kind == CampaignKind::overclock) {
    OverclockInputs inputs = overclock_inputs(record);
    run = settled(run, inputs.config.executor);
    auto campaign = std::make_shared<Overclock>(std::move(inputs), folder, run);
    return [campaign](const std::string& name) { return campaign->phase(name); };
  }
  CampaignInputs inputs = reduce_inputs(record);
  run = settled(run, inputs.config.executor);
  auto campaign = std::make_shared<Campaign>(std::move(inputs), folder, run);
  return [campaign](const std::string& name) { return campaign->phase(name); };
}

}  // namespace kintsugi::sim

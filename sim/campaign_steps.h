// A campaign of either kind, from its record: what `kintsugi reduce`, `overclock` and `campaign` do alike.
#pragma once

#include <filesystem>
#include <functional>
#include <string>

#include "sim/campaign_record.h"
#include "sim/campaign_run.h"
#include "sim/phase.h"

namespace kintsugi::sim {

// Both functions work in the record's working folder from then on: some files are opened late.

// Goes through the recorded command's phases and writes its tables; returns an exit status. `enforce`: 1
// unless every chip that was not rejected passes (of reduce retrain and all). With a run that does not
// compute: 1, having said what is missing, where a phase is not complete.
int run_campaign(const CampaignRecord& record, const std::filesystem::path& folder, const CampaignRun& run,
                 bool enforce = false);

// Gives the campaign's phases by name, for work on single tasks: loads the inputs, but does not take the
// folder. The phases live no longer than the function.
std::function<Phase(const std::string&)> open_campaign(const CampaignRecord& record,
                                                       const std::filesystem::path& folder, CampaignRun run);

}  // namespace kintsugi::sim

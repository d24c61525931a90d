// How a campaign is run on this machine: nothing of it can change a result.
#pragma once

#include "sim/options.h"

namespace kintsugi::sim {

// A coordinator goes through the phases of a campaign and has its folder to itself. A worker does single
// tasks of it while a coordinator may be there.
enum class Role { coordinator, worker };

struct CampaignRun {
  Role role = Role::coordinator;
  int workers = 1;
  int threads = 1;  // of each worker
  bool quiet = false;
};

// Adds --workers.
void add_workers_option(OptionParser& parser);
// From the parsed options; without --workers as many as the campaign says, without --threads as many of each
// worker as there are cores for.
CampaignRun campaign_run(const OptionParser& parser, int configured_workers);

}  // namespace kintsugi::sim

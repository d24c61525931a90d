#include "sim/campaign_run.h"

#include <fmt/format.h>

#include <algorithm>
#include <thread>

#include "common/diagnostics.h"
#include "common/text.h"

namespace kintsugi::sim {

namespace po = boost::program_options;

void add_workers_option(OptionParser& parser) {
  parser.own().add_options()("workers", po::value<std::string>()->value_name("N"),
                             "worker processes (default: executor.workers of the campaign)");
}

CampaignRun campaign_run(const OptionParser& parser, int configured_workers) {
  CampaignRun run;
  run.workers = configured_workers;
  if (parser.has("workers")) {
    const auto value = common::parse_integer(parser.text("workers"));
    if (!value || *value < 1 || *value > 1024)
      throw common::InputError(
          fmt::format("--workers is '{}'; it must be a whole number from 1 to 1024", parser.text("workers")));
    run.workers = static_cast<int>(*value);
  }
  const int cores = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  run.threads = parser.has("threads") ? parser.common().threads : std::max(1, cores / run.workers);
  run.quiet = parser.common().quiet;
  return run;
}

}  // namespace kintsugi::sim

// kintsugi overclock
#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <thread>
#include <vector>

#include "common/diagnostics.h"
#include "common/text.h"
#include "sim/options.h"
#include "sim/overclock.h"

namespace kintsugi::sim {
namespace {

namespace po = boost::program_options;

int positive(const OptionParser& parser, const std::string& name, int fallback) {
  if (!parser.has(name)) return fallback;
  const auto value = common::parse_integer(parser.text(name));
  if (!value || *value < 1 || *value > 1024)
    throw common::InputError(
        fmt::format("--{} is '{}'; it must be a whole number from 1 to 1024", name, parser.text(name)));
  return static_cast<int>(*value);
}

}  // namespace

int overclock_command(const std::vector<std::string>& arguments) {
  OptionParser parser(
      "kintsugi overclock --campaign F --out D",
      "Runs a network on a chip at operating points that make it err, retrains it there with the chip in "
      "the\n"
      "loop, with and without its critical layer protected, and compares (Xu et al., ASAP 2019). What is "
      "already\n"
      "in --out is not done again.",
      "kintsugi overclock --campaign configs/campaigns/overclock_mlp.yaml --out overclock_mlp");
  parser.own().add_options()("campaign", po::value<std::string>()->required()->value_name("FILE"),
                             "the campaign (configs/campaigns/overclock_*.yaml)")(
      "workers", po::value<std::string>()->value_name("N"),
      "worker processes (default: executor.workers of the campaign)");
  parser.reads({"overclock", "chip", "network"});
  if (!parser.parse(arguments)) return kExitDone;
  const CommonOptions& common = parser.common();
  if (common.out.empty())
    throw common::InputError("kintsugi overclock needs --out DIR, the campaign's folder");

  OverclockInputs inputs = load_overclock(parser.text("campaign"), common.set, common.seed, common.data_dir);
  CampaignRun run;
  run.workers = positive(parser, "workers", inputs.config.workers);
  const int cores = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  run.threads = parser.has("threads") ? common.threads : std::max(1, cores / run.workers);
  run.quiet = common.quiet;
  Overclock(std::move(inputs), common.out, run).run();
  if (!run.quiet) fmt::print("\nResults are in {}\n", common.out.string());
  return kExitDone;
}

}  // namespace kintsugi::sim

// kintsugi overclock
#include <fmt/format.h>

#include <string>
#include <vector>

#include "common/diagnostics.h"
#include "common/text.h"
#include "sim/campaign_run.h"
#include "sim/campaign_steps.h"
#include "sim/options.h"

namespace kintsugi::sim {
namespace {

namespace po = boost::program_options;

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
                             "the campaign (configs/campaigns/overclock_*.yaml)");
  add_run_options(parser);
  parser.reads({"overclock", "chip", "network"});
  if (!parser.parse(arguments)) return kExitDone;
  const CommonOptions& common = parser.common();
  if (common.out.empty())
    throw common::InputError("kintsugi overclock needs --out DIR, the campaign's folder");

  return run_campaign(record_of(CampaignKind::overclock, "", parser.text("campaign"), common), common.out,
                      campaign_run(parser));
}

}  // namespace kintsugi::sim

// kintsugi reduce characterize | plan | retrain | compare | all
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

#include "common/diagnostics.h"
#include "common/text.h"
#include "sim/campaign_run.h"
#include "sim/campaign_steps.h"
#include "sim/options.h"
#include "sim/resilience_curves.h"

namespace kintsugi::sim {
namespace {

namespace po = boost::program_options;

const std::vector<std::string> kSteps{"characterize", "plan", "retrain", "compare", "all"};

std::string about_of(const std::string& step) {
  if (step == "characterize")
    return "Step 1 of Reduce: pretrains the network if need be, then retrains it through randomly faulty\n"
           "chips and records how much retraining each fault rate needs.";
  if (step == "plan")
    return "Step 2 of Reduce: chooses for each chip of the lot, from its own fault map, to ship, retrain\n"
           "(and how much) or reject it; with 'group' in the campaign, also which chips share a network.\n"
           "Writes plan.yaml.";
  if (step == "retrain")
    return "Step 3 of Reduce: retrains each chip as plan.yaml says, with the chip in the forward pass, and\n"
           "reports what it reached.";
  if (step == "compare")
    return "Compares all policies (max, mean, quantile, adaptive, fixed amounts) on the same chips: chips "
           "saved,\n"
           "steps spent.";
  return "The whole campaign: pretrain, characterise, plan, retrain, compare. What is already in --out\n"
         "is not done again.";
}

constexpr const char* kOverview =
    "Usage: kintsugi reduce <step> --campaign F --out D [options]\n\n"
    "Plans how much retraining each faulty chip of a lot needs, and retrains it (Reduce, Hanif and "
    "Shafique).\n\n"
    "Steps, all on the same folder:\n"
    "  characterize  how much retraining each fault rate needs (pretrains first)\n"
    "  plan          ship, retrain or reject, chip by chip\n"
    "  retrain       retrain each chip as planned\n"
    "  compare       Reduce against fixed amounts\n"
    "  all           all of them\n"
    "  curves        resilience curves of characterised campaigns, side by side\n\n"
    "'kintsugi reduce <step> --help' explains a step; 'kintsugi campaign' shows, resumes and stops a "
    "campaign.\n"
    "Example: kintsugi reduce all --campaign configs/campaigns/quickstart.yaml --out quickstart\n";

int run_step(const std::string& step, const std::vector<std::string>& arguments) {
  OptionParser parser(
      fmt::format("kintsugi reduce {} --campaign F --out D", step), about_of(step),
      fmt::format("kintsugi reduce {} --campaign configs/campaigns/quickstart.yaml --out quickstart", step));
  parser.own().add_options()("campaign", po::value<std::string>()->required()->value_name("FILE"),
                             "the campaign (configs/campaigns/*.yaml)");
  add_run_options(parser);
  parser.reads({"campaign", "chip", "network"});
  const bool judges = step == "retrain" || step == "all";
  if (judges)
    parser.own().add_options()("enforce", po::bool_switch(),
                               "exit with status 1 unless every chip that was not rejected passes");
  if (!parser.parse(arguments)) return kExitDone;
  const CommonOptions& common = parser.common();
  if (common.out.empty())
    throw common::InputError(fmt::format("kintsugi reduce {} needs --out DIR, the campaign's folder", step));

  // A later step leaves nothing behind in a folder that has no campaign: it would pin the settings of one.
  if (step != "characterize" && step != "all" && !std::filesystem::exists(common.out / "manifest.yaml"))
    throw common::InputError(
        {common.out.string()},
        "there is no campaign in this folder yet; run 'kintsugi reduce characterize' with "
        "the same --campaign and --out first");

  return run_campaign(record_of(CampaignKind::reduce, step, parser.text("campaign"), common), common.out,
                      campaign_run(parser), judges && parser.values()["enforce"].as<bool>());
}

}  // namespace

int reduce_command(const std::vector<std::string>& arguments) {
  if (arguments.empty() || arguments[0] == "--help" || arguments[0] == "-h") {
    fmt::print("{}", kOverview);
    return arguments.empty() ? kExitBadInput : kExitDone;
  }
  const std::string& step = arguments[0];
  if (step == "curves") return curves_command({arguments.begin() + 1, arguments.end()});
  if (std::find(kSteps.begin(), kSteps.end(), step) == kSteps.end()) {
    std::vector<std::string> steps = kSteps;
    steps.push_back("curves");
    const auto near = common::nearest(step, steps);
    throw common::InputError(fmt::format("kintsugi reduce: error: there is no step '{}'{}; the steps are {}",
                                         step, near ? fmt::format(", did you mean '{}'?", *near) : "",
                                         common::join_or(steps)));
  }
  return run_step(step, {arguments.begin() + 1, arguments.end()});
}

}  // namespace kintsugi::sim

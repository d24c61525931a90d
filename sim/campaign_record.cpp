#include "sim/campaign_record.h"

#include <fmt/format.h>

#include <cstdlib>
#include <limits>

#include "common/diagnostics.h"
#include "common/files.h"
#include "common/text.h"

namespace kintsugi::sim {
namespace {

namespace fs = std::filesystem;
using common::yaml_scalar;

constexpr auto kFile = "command.yaml";

}  // namespace

std::string CampaignRecord::command() const {
  return kind == CampaignKind::overclock ? "overclock" : "reduce " + step;
}

std::vector<std::string> CampaignRecord::phases() const {
  if (kind == CampaignKind::overclock)
    return {"pretrain", "reference_decision", "original", "train", "decide", "reference_test", "test"};
  const std::vector<std::string> characterize{"pretrain", "baseline_decision", "characterize", "calibrate"};
  if (step == "characterize") return characterize;
  if (step == "plan") return {"plan"};
  if (step == "retrain") return {"baseline_test", "retrain_planned", "group", "deliver"};
  if (step == "compare") return {"baseline_test", "retrain", "group", "deliver"};
  return {"pretrain",      "baseline_decision", "characterize", "calibrate", "plan",
          "baseline_test", "retrain",           "group",        "deliver"};
}

CampaignRecord record_of(CampaignKind kind, const std::string& step, const std::string& campaign,
                         const CommonOptions& options) {
  CampaignRecord record;
  record.kind = kind;
  record.step = step;
  record.campaign = campaign;
  record.working_folder = fs::current_path();
  record.data_dir = options.data_dir;
  if (const char* const data = std::getenv("KINTSUGI_DATA"); record.data_dir.empty() && data != nullptr)
    record.data_dir = data;
  if (!record.data_dir.empty()) record.data_dir = fs::absolute(record.data_dir).lexically_normal();
  record.seed = options.seed;
  record.set = options.set;
  return record;
}

void write_record(const fs::path& folder, const CampaignRecord& record) {
  std::string text = fmt::format(
      "# How this campaign was begun; 'kintsugi campaign resume' goes on with it.\n"
      "command:\n"
      "  version: 1\n"
      "  kind: {}\n",
      record.kind == CampaignKind::overclock ? "overclock" : "reduce");
  if (!record.step.empty()) text += fmt::format("  step: {}\n", record.step);
  text +=
      fmt::format("  campaign: {}\n  working_folder: {}\n  seed: {}\n", yaml_scalar(record.campaign.string()),
                  yaml_scalar(record.working_folder.string()), record.seed);
  if (!record.data_dir.empty())
    text += fmt::format("  data_dir: {}\n", yaml_scalar(record.data_dir.string()));
  if (!record.set.empty()) text += "  set:\n";
  for (const configs::Override& override : record.set)
    text +=
        fmt::format("    - {{key: {}, value: {}}}\n", yaml_scalar(override.key), yaml_scalar(override.value));
  common::write_file_atomic(folder / kFile, text);
}

CampaignRecord read_record(const fs::path& folder) {
  const fs::path file = folder / kFile;
  if (!fs::exists(file))
    throw common::InputError(
        {folder.string()},
        fs::exists(folder / "manifest.yaml")
            ? "this campaign's folder has no command.yaml, which says how it was begun; give the command "
              "that began "
              "it once more, with the same --campaign and --out: it goes on from here"
            : "there is no campaign in this folder; 'kintsugi reduce' and 'kintsugi overclock' begin one");
  configs::YamlFile yaml(file, "command");
  configs::Section root = yaml.root();
  CampaignRecord record;
  root.integer("version", 1, 1);
  record.kind = root.choice<CampaignKind>(
      "kind", {{"reduce", CampaignKind::reduce}, {"overclock", CampaignKind::overclock}});
  if (record.kind == CampaignKind::reduce) {
    static const std::vector<std::string> kSteps{"characterize", "plan", "retrain", "compare", "all"};
    std::vector<std::pair<std::string, std::string>> words;
    for (const std::string& step : kSteps) words.emplace_back(step, step);
    record.step = root.choice<std::string>("step", words);
  }
  record.campaign = root.text("campaign");
  record.working_folder = root.text("working_folder");
  record.data_dir = root.text("data_dir", "");
  record.seed = static_cast<std::uint64_t>(root.integer("seed", 0, std::numeric_limits<std::int64_t>::max()));
  if (root.has("set"))
    for (configs::Section& entry : root.sections("set"))
      record.set.push_back({entry.text("key"), entry.text("value")});
  yaml.finish();
  return record;
}

}  // namespace kintsugi::sim

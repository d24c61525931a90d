#include "sim/campaign_manifest.h"

#include <fmt/format.h>

#include "common/sha256.h"
#include "common/text.h"
#include "training/reduce/constraint.h"
#include "training/reduce/plan_file.h"

namespace kintsugi::sim {
namespace {

std::string digest_of_chips(const std::vector<std::string>& sha256) {
  std::string text;
  for (const std::string& map : sha256) text += map + "\n";
  return common::sha256(text);
}

std::string chips_source(const configs::ChipsConfig& chips) {
  if (std::holds_alternative<configs::SampleChips>(chips)) return "sampled";
  return std::holds_alternative<configs::LotFile>(chips) ? "lot file" : "fault maps";
}

// Campaigns without repair keep the manifest that they had.
void add_repair(std::vector<ManifestEntry>& entries, const configs::RepairConfig& repair) {
  static constexpr const char* kSaliencies[] = {"magnitude", "square", "output"};
  std::string mapping = "none", compensation = "none", batch_norm = "none";
  if (repair.mapping)
    mapping =
        fmt::format("saliency {}, {} spare columns", kSaliencies[static_cast<int>(repair.mapping->saliency)],
                    repair.mapping->spare_columns ? "with" : "without");
  if (repair.compensation)
    compensation = fmt::format("{} images, ridge {}", repair.compensation->images,
                               common::format_number(repair.compensation->ridge));
  if (repair.batch_norm) batch_norm = fmt::format("{} images", repair.batch_norm->images);
  entries.push_back({"repair.mapping", mapping});
  entries.push_back({"repair.compensation", compensation});
  entries.push_back({"repair.batch_norm", batch_norm});
  if (repair.drop)
    entries.push_back(
        {"repair.drop_unbypassable",
         "up to " + common::format_number(repair.drop->max_cycle_factor) + " times the cycles"});
}

constexpr const char* kPolicies[] = {"max", "mean", "fixed", "quantile", "adaptive"};

// Likewise: only what the campaign asks for.
void add_planning(std::vector<ManifestEntry>& entries, const configs::CampaignConfig& config) {
  static constexpr const char* kPredictors[] = {"fault_rate", "mapped_fault_rate", "pruned_saliency", "loss"};
  const configs::PolicyConfig& policy = config.policy;
  if (!config.characterize.amounts.empty()) {
    const auto& amounts = config.characterize.amounts;
    entries.push_back({"characterize.amounts", number_list({amounts.begin(), amounts.end()})});
  }
  if (policy.predictor != configs::Predictor::fault_rate)
    entries.push_back({"policy.predictor", kPredictors[static_cast<int>(policy.predictor)]});
  if (policy.name == configs::PolicyName::adaptive)
    entries.push_back(
        {"policy.extend", policy.extend == configs::Extend::interval ? "interval" : "estimate"});
  if (config.calibration_chips) {
    entries.push_back({"calibrate.chips", fmt::format("{}", *config.calibration_chips)});
    entries.push_back({"policy.coverage", common::format_number(policy.coverage)});
    entries.push_back({"policy.confidence", common::format_number(policy.confidence)});
  }
  if (config.compare_policies) {
    std::string names;
    for (const configs::PolicyName name : *config.compare_policies)
      names += fmt::format("{}{}", names.empty() ? "" : ", ", kPolicies[static_cast<int>(name)]);
    entries.push_back({"compare.policies", names});
  }
}

}  // namespace

std::vector<ManifestEntry> manifest_of(const CampaignInputs& inputs) {
  const configs::CampaignConfig& config = inputs.config;
  std::vector<ManifestEntry> entries = manifest_start(inputs.seed);
  add_chip(entries, inputs.chip);
  add_network(entries, inputs.network_config);
  entries.push_back({"dataset.training", digest(inputs.training)});
  entries.push_back({"dataset.decision", digest(inputs.held_out)});
  entries.push_back({"dataset.test", digest(inputs.test)});
  entries.push_back({"leak_as_published", config.leak_as_published ? "true" : "false"});
  add_pretrain(entries, config.pretrain);
  add_sgd(entries, "retrain", config.retrain);
  entries.push_back({"retrain.forward", config.forward == configs::Forward::chip ? "chip" : "masked_float"});
  add_quantization(entries, config.quantization);
  if (config.repair.any()) add_repair(entries, config.repair);
  const std::vector<std::int64_t> fixed = config.compare_fixed_steps.value_or(std::vector<std::int64_t>());
  const std::vector<double> fixed_steps(fixed.begin(), fixed.end());
  const std::vector<ManifestEntry> rest{
      {"constraint", training::reduce::Constraint(config.constraint).describe()},
      {"characterize.fault_rates", number_list(config.characterize.fault_rates)},
      {"characterize.repeats", fmt::format("{}", config.characterize.repeats)},
      {"characterize.max_steps", fmt::format("{}", config.characterize.max_steps)},
      {"characterize.evaluate_every_steps", fmt::format("{}", config.characterize.evaluate_every_steps)},
      {"characterize.amount",
       config.characterize.amount == configs::Amount::sustained ? "sustained" : "first_crossing"},
      {"chips.source", chips_source(config.chips)},
      {"chips.count", fmt::format("{}", inputs.chips.size())},
      {"chips.sha256", digest_of_chips(inputs.chip_sha256)},
      {"policy.name", kPolicies[static_cast<int>(config.policy.name)]},
      {"policy.steps", fmt::format("{}", config.policy.steps)},
      {"compare.fixed_steps",
       config.compare_fixed_steps && fixed_steps.empty() ? "none" : number_list(fixed_steps)},
  };
  entries.insert(entries.end(), rest.begin(), rest.end());
  if (config.characterize.maps == configs::CharacterizationMaps::like_chips)
    entries.push_back({"characterize.maps", "like_chips"});
  add_planning(entries, config);
  if (config.group) entries.push_back({"group.max_chips", fmt::format("{}", config.group->max_chips)});
  if (!config.accuracy_check) entries.push_back({"plan.accuracy_check", "false"});
  if (!config.check_before_repair) entries.push_back({"plan.check_before_repair", "false"});
  return entries;
}

}  // namespace kintsugi::sim

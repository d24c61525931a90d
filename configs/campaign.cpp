#include "configs/campaign.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <limits>

#include "common/text.h"

namespace kintsugi::configs {
namespace {

constexpr std::int64_t kAny = std::numeric_limits<std::int64_t>::max();
constexpr std::int64_t kMostSteps = 1'000'000'000;

// One problem a list is enough: sorting it mends them all.
void check_rates(Section& section, const std::string& name, const std::vector<double>& rates) {
  for (std::size_t i = 0; i < rates.size(); ++i)
    if (rates[i] == 0 || rates[i] == 1) {
      section.error(name, fmt::format("'{}' holds {}; a fault rate here lies between 0 and 1, both excluded",
                                      name, common::format_number(rates[i])));
      break;
    }
  for (std::size_t i = 1; i < rates.size(); ++i)
    if (rates[i] <= rates[i - 1]) {
      section.error(
          name, fmt::format("'{}' must ascend, but {} comes after {}; sort the list and remove repeats", name,
                            common::format_number(rates[i]), common::format_number(rates[i - 1])));
      break;
    }
}

ScheduleConfig read_schedule(Section schedule, ScheduleConfig config) {
  using enum ScheduleKind;
  config.kind = schedule.choice<ScheduleKind>(
      "name", {{"constant", constant}, {"step", step}, {"cosine", cosine}, {"linear", linear}});
  if (config.kind != step) {
    for (const char* key : {"milestones", "gamma"})
      if (schedule.has(key))
        schedule.error(key, fmt::format("'{}' belongs to 'name: step' only; remove it or choose step", key));
    return config;
  }
  config.milestones = schedule.reals("milestones", 0, 1);
  for (std::size_t i = 1; i < config.milestones.size(); ++i)
    if (config.milestones[i] <= config.milestones[i - 1])
      schedule.error("milestones",
                     "'milestones' must ascend; they are fractions of the whole run, like [0.5, 0.75]");
  config.gamma = schedule.real("gamma", 0, 1, config.gamma);
  return config;
}

ConstraintConfig read_constraint(Section constraint) {
  ConstraintConfig config;
  const bool drop = constraint.has("accuracy_drop");
  const bool absolute = constraint.has("accuracy");
  if (drop && absolute)
    constraint.error("accuracy",
                     "a constraint is either 'accuracy_drop' or 'accuracy', not both; remove one");
  else if (!drop && !absolute)
    constraint.error(
        "'constraint' needs 'accuracy_drop' (like 0.005) or 'accuracy' (like 0.91), as fractions of 1");
  if (drop) config.accuracy_drop = constraint.real("accuracy_drop", 0, 1);
  if (absolute) config.accuracy = constraint.real("accuracy", 0, 1);
  return config;
}

// Instead of max_steps and evaluate_every_steps, which become the last and the first of them.
void read_amounts(Section& section, CharacterizeConfig& config) {
  for (const char* key : {"max_steps", "evaluate_every_steps"})
    if (section.has(key))
      section.error(key,
                    fmt::format("'amounts' lists what is evaluated, so '{}' says it again; remove one", key));
  config.amounts = section.integers("amounts", 1, kMostSteps);
  if (section.raw("amounts").IsSequence() && section.raw("amounts").size() == 0)
    section.error("amounts", "'amounts' is empty; list the steps to characterise, like [50, 100, 200, 400]");
  for (std::size_t i = 1; i < config.amounts.size(); ++i)
    if (config.amounts[i] <= config.amounts[i - 1]) {
      section.error("amounts", fmt::format("'amounts' must ascend, but {} comes after {}; sort the list and "
                                           "remove repeats",
                                           config.amounts[i], config.amounts[i - 1]));
      break;
    }
  if (config.amounts.empty()) return;
  config.evaluate_every_steps = config.amounts.front();
  config.max_steps = config.amounts.back();
}

CharacterizeConfig read_characterize(Section section, ScheduleKind schedule) {
  CharacterizeConfig config;
  config.fault_rates = section.reals("fault_rates", 0, 1);
  if (section.has("fault_rates") && section.raw("fault_rates").IsSequence() &&
      section.raw("fault_rates").size() == 0)
    section.error("fault_rates", "'fault_rates' is empty; list the rates to characterise, like [0.01, 0.1]");
  check_rates(section, "fault_rates", config.fault_rates);
  config.repeats = static_cast<int>(section.integer("repeats", 1, 10000, config.repeats));
  config.amount = section.choice<Amount>(
      "amount", {{"sustained", Amount::sustained}, {"first_crossing", Amount::first_crossing}},
      config.amount);
  config.maps = section.choice<CharacterizationMaps>(
      "maps", {{"iid", CharacterizationMaps::iid}, {"like_chips", CharacterizationMaps::like_chips}},
      config.maps);
  if (section.has("amounts")) {
    read_amounts(section, config);
    return config;
  }
  if (schedule != ScheduleKind::constant)
    section.error(
        "with a 'retrain.schedule' that is not constant every amount is a retraining run of its own; list "
        "the "
        "amounts to characterise, like 'amounts: [50, 100, 200, 400, 800]'");
  config.max_steps = section.integer("max_steps", 1, kMostSteps, config.max_steps);
  config.evaluate_every_steps =
      section.integer("evaluate_every_steps", 1, kMostSteps, config.evaluate_every_steps);
  if (config.evaluate_every_steps > config.max_steps)
    section.error("evaluate_every_steps",
                  fmt::format("'evaluate_every_steps' is {}, more than 'max_steps' ({}); "
                              "evaluate at least once",
                              config.evaluate_every_steps, config.max_steps));
  else if (config.max_steps % config.evaluate_every_steps != 0)
    section.error(
        "evaluate_every_steps",
        fmt::format("'evaluate_every_steps' is {}, which does not divide 'max_steps' ({}); the last step "
                    "must be evaluated: try max_steps {}",
                    config.evaluate_every_steps, config.max_steps,
                    (config.max_steps / config.evaluate_every_steps + 1) * config.evaluate_every_steps));
  return config;
}

// Maps like the lot's need to know how the lot was drawn, and a rate that is a map's own.
void check_maps(Section& campaign, const CampaignConfig& config) {
  if (config.characterize.maps != CharacterizationMaps::like_chips) return;
  Section characterize = campaign.section("characterize");
  const auto* sample = std::get_if<SampleChips>(&config.chips);
  if (sample == nullptr)
    characterize.error("maps",
                       "'maps: like_chips' needs 'chips: {sample: …}', which says how such maps are drawn; "
                       "remove it, or write 'maps: iid'");
  else if (sample->model == SampleModel::radial)
    characterize.error("maps",
                       "'maps: like_chips' has no meaning for 'model: radial', whose rate is that of a whole "
                       "wafer (within a die it is nearly i.i.d.); remove it, or write 'maps: iid'");
}

// A share that is neither none nor all.
double read_share(Section& section, const char* key, double fallback) {
  const double share = section.real(key, 0, 1, fallback);
  if (share == 0 || share == 1)
    section.error(key, fmt::format("'{}' is {}; it must lie between 0 and 1, both excluded, like 0.95", key,
                                   common::format_number(share)));
  return share;
}

PolicyConfig read_policy(Section policy) {
  using enum PolicyName;
  PolicyConfig config;
  config.name = policy.choice<PolicyName>(
      "name",
      {{"max", max}, {"mean", mean}, {"fixed", fixed}, {"quantile", quantile}, {"adaptive", adaptive}},
      config.name);
  struct Owner {
    const char* key;
    PolicyName name;
    const char* word;
  };
  for (const Owner& owner :
       {Owner{"steps", fixed, "fixed"}, Owner{"coverage", quantile, "quantile"},
        Owner{"confidence", quantile, "quantile"}, Owner{"extend", adaptive, "adaptive"}})
    if (config.name != owner.name && policy.has(owner.key))
      policy.error(owner.key, fmt::format("'{}' belongs to 'name: {}' only; remove it or choose {}",
                                          owner.key, owner.word, owner.word));
  if (config.name == fixed) {
    config.steps = policy.integer("steps", 0, kMostSteps);
    if (policy.has("predictor"))
      policy.error("predictor", "a fixed amount is predicted from nothing; remove 'predictor'");
    return config;
  }
  config.predictor = policy.choice<Predictor>("predictor",
                                              {{"fault_rate", Predictor::fault_rate},
                                               {"mapped_fault_rate", Predictor::mapped_fault_rate},
                                               {"pruned_saliency", Predictor::pruned_saliency},
                                               {"loss", Predictor::loss}},
                                              config.predictor);
  if (config.name == quantile) {
    config.coverage = read_share(policy, "coverage", config.coverage);
    config.confidence = read_share(policy, "confidence", config.confidence);
  }
  if (config.name == adaptive)
    config.extend = policy.choice<Extend>(
        "extend", {{"estimate", Extend::estimate}, {"interval", Extend::interval}}, config.extend);
  return config;
}

RepairConfig read_repair(Section repair) {
  RepairConfig config;
  if (auto mapping = repair.optional_section("mapping")) {
    using enum Saliency;
    config.mapping.emplace();
    config.mapping->saliency = mapping->choice<Saliency>(
        "saliency", {{"magnitude", magnitude}, {"square", square}, {"output", output}}, output);
    config.mapping->spare_columns = mapping->boolean("spare_columns", true);
  }
  if (auto compensation = repair.optional_section("compensation")) {
    config.compensation.emplace();
    config.compensation->images = compensation->integer("images", 1, kAny, config.compensation->images);
    config.compensation->ridge = compensation->real("ridge", 0, 1e6, config.compensation->ridge);
  }
  if (auto batch_norm = repair.optional_section("batch_norm")) {
    config.batch_norm.emplace();
    config.batch_norm->images = batch_norm->integer("images", 1, kAny, config.batch_norm->images);
  }
  if (auto drop = repair.optional_section("drop_unbypassable")) {
    config.drop.emplace();
    config.drop->max_cycle_factor = drop->real("max_cycle_factor", 1, 1000, config.drop->max_cycle_factor);
    if (!config.mapping)
      repair.error(
          "drop_unbypassable",
          "'drop_unbypassable' moves channels out of columns that cannot be used, which is mapping's "
          "work; add 'mapping: {}', or remove it");
  }
  return config;
}

// Of what policies say about a union of fault maps.
GroupConfig read_group(Section group, const PolicyConfig& policy) {
  GroupConfig config;
  config.max_chips = group.integer("max_chips", 2, 1'000'000, config.max_chips);
  if (policy.name == PolicyName::fixed)
    group.error(
        "'group' weighs what one network for several chips needs against what each needs, and a fixed amount "
        "says the same of all; plan by another policy, like 'max', or remove 'group'");
  else if (policy.name == PolicyName::quantile)
    group.error(
        "the guarantee of policy quantile is for chips of the lot's kind, which several fault maps put "
        "together are not; plan by 'max', 'mean' or 'adaptive', or remove 'group'");
  else if (policy.predictor != Predictor::fault_rate)
    group.error(
        "'group' plans by the fault rate of several maps put together, and nothing else is known of those; "
        "plan by 'predictor: fault_rate', or remove 'group'");
  return config;
}

void read_compare(Section compare, CampaignConfig& config) {
  if (compare.has("fixed_steps")) {
    config.compare_fixed_steps = compare.integers("fixed_steps", 0, kMostSteps);
    const std::vector<std::int64_t>& steps = *config.compare_fixed_steps;
    for (std::size_t i = 1; i < steps.size(); ++i)
      if (steps[i] <= steps[i - 1])
        compare.error("fixed_steps",
                      fmt::format("'fixed_steps' must ascend, but {} comes after {}; sort the list and "
                                  "remove repeats",
                                  steps[i], steps[i - 1]));
  }
  if (!compare.has("policies")) return;
  using enum PolicyName;
  static constexpr std::pair<const char*, PolicyName> kWords[] = {
      {"max", max}, {"mean", mean}, {"quantile", quantile}, {"adaptive", adaptive}};
  config.compare_policies.emplace();
  const YAML::Node words = compare.raw("policies");
  if (!words.IsSequence())
    return compare.error("policies", "'policies' must be a list like [max, mean, adaptive]");
  for (const YAML::Node& entry : words) {
    const std::string word = entry.IsScalar() ? entry.Scalar() : "a list or mapping";
    const auto found = std::find_if(std::begin(kWords), std::end(kWords),
                                    [&](const auto& known) { return known.first == word; });
    if (found == std::end(kWords))
      compare.error("policies",
                    fmt::format("'policies' holds '{}'; it may hold max, mean, quantile and adaptive "
                                "(fixed amounts go into 'fixed_steps')",
                                word));
    else if (found->second == quantile && !config.calibration_chips)
      compare.error("policies", "policy quantile has to be calibrated; add 'calibrate: {chips: 60}'");
    else
      config.compare_policies->push_back(found->second);
  }
}

}  // namespace

std::vector<std::int64_t> CharacterizeConfig::evaluated() const {
  std::vector<std::int64_t> all{0};
  if (amounts.empty())
    for (std::int64_t steps = evaluate_every_steps; steps <= max_steps; steps += evaluate_every_steps)
      all.push_back(steps);
  all.insert(all.end(), amounts.begin(), amounts.end());
  return all;
}

SgdConfig read_sgd(Section& section, const SgdConfig& defaults) {
  SgdConfig config = defaults;
  config.batch = static_cast<int>(section.integer("batch", 1, 65536, defaults.batch));
  config.learning_rate = section.real("learning_rate", 0, 1000, defaults.learning_rate);
  config.momentum = section.real("momentum", 0, 0.9999, defaults.momentum);
  config.weight_decay = section.real("weight_decay", 0, 10, defaults.weight_decay);
  if (auto schedule = section.optional_section("schedule"))
    config.schedule = read_schedule(*schedule, defaults.schedule);
  config.augment = section.boolean("augment", defaults.augment);
  config.backward = section.choice<Backward>("backward", {{"f32", Backward::f32}, {"bf16", Backward::bf16}},
                                             defaults.backward);
  return config;
}

PretrainConfig read_pretrain(Section pretrain) {
  PretrainConfig config;
  config.weights = pretrain.optional_path("weights");
  if (config.weights) {
    if (pretrain.has("epochs"))
      pretrain.error("epochs",
                     "'epochs' says how long to train, 'weights' that nothing is to be trained; remove one");
    return config;
  }
  config.epochs = pretrain.real("epochs", 0, 1e6, config.epochs);
  config.sgd = read_sgd(pretrain, config.sgd);
  return config;
}

QuantizationConfig read_quantization(Section section) {
  QuantizationConfig config;
  config.method = section.choice<ScaleMethod>(
      "method", {{"minmax", ScaleMethod::minmax}, {"percentile", ScaleMethod::percentile}}, config.method);
  if (config.method == ScaleMethod::percentile)
    config.percentile = section.real("percentile", 50, 100, config.percentile);
  else if (section.has("percentile"))
    section.error("percentile",
                  "'percentile' belongs to 'method: percentile' only; remove it or choose that method");
  config.images = section.integer("images", 1, kAny, config.images);
  return config;
}

CampaignConfig read_campaign(const std::filesystem::path& file, const Overrides& overrides) {
  YamlFile yaml(file, "campaign", overrides);
  Section campaign = yaml.root();
  CampaignConfig config;
  config.file = file;
  config.chip = campaign.path("chip");
  config.network = campaign.path("network");
  Section dataset = campaign.section("dataset");
  config.dataset = read_dataset(dataset, true);
  config.decision_images = dataset.integer("decision_images", 1, kAny, config.decision_images);
  if (dataset.has("split_seed"))
    config.split_seed = static_cast<std::uint64_t>(dataset.integer("split_seed", 0, kAny));
  config.leak_as_published = campaign.boolean("leak_as_published", config.leak_as_published);
  if (auto pretrain = campaign.optional_section("pretrain")) config.pretrain = read_pretrain(*pretrain);
  if (auto retrain = campaign.optional_section("retrain")) {
    config.retrain = read_sgd(*retrain, config.retrain);
    config.forward = retrain->choice<Forward>(
        "forward", {{"chip", Forward::chip}, {"masked_float", Forward::masked_float}}, config.forward);
  }
  if (auto section = campaign.optional_section("quantization"))
    config.quantization = read_quantization(*section);
  if (auto repair = campaign.optional_section("repair")) config.repair = read_repair(*repair);
  config.constraint = read_constraint(campaign.section("constraint"));
  config.characterize = read_characterize(campaign.section("characterize"), config.retrain.schedule.kind);
  config.chips = read_chips(campaign.section("chips"));
  check_maps(campaign, config);
  if (auto calibrate = campaign.optional_section("calibrate")) {
    config.calibration_chips = static_cast<int>(calibrate->integer("chips", 1, 1'000'000));
    if (config.characterize.amount == Amount::first_crossing)
      calibrate->error(
          "'calibrate' needs 'characterize.amount: sustained': a guarantee has to hold at every amount from "
          "the one on that a chip needed");
  }
  if (auto policy = campaign.optional_section("policy")) {
    config.policy = read_policy(*policy);
    if (config.policy.name == PolicyName::quantile && !config.calibration_chips)
      policy->error("name", "policy quantile has to be calibrated; add 'calibrate: {chips: 60}'");
  }
  if (auto plan = campaign.optional_section("plan")) {
    config.accuracy_check = plan->boolean("accuracy_check", config.accuracy_check);
    if (!config.accuracy_check && config.policy.predictor != Predictor::fault_rate)
      plan->error(
          "accuracy_check",
          "'policy.predictor' needs every chip to be measured; remove 'accuracy_check: false', or plan by "
          "'predictor: fault_rate'");
    config.check_before_repair = plan->boolean("check_before_repair", config.check_before_repair);
    if (!config.check_before_repair && !config.repair.any())
      plan->error("check_before_repair",
                  "this campaign repairs nothing, so there is no other accuracy to plan from; remove "
                  "'check_before_repair: false', or add 'repair', or plan from fault maps alone with "
                  "'accuracy_check: false'");
  }
  if (auto group = campaign.optional_section("group")) config.group = read_group(*group, config.policy);
  if (auto compare = campaign.optional_section("compare")) read_compare(*compare, config);
  if (auto executor = campaign.optional_section("executor")) config.executor = read_executor(*executor);
  yaml.finish();
  return config;
}

}  // namespace kintsugi::configs

#include "training/reduce/plan_file.h"

#include <fmt/format.h>

#include <limits>
#include <set>

#include "common/text.h"
#include "configs/yaml_reader.h"
#include "training/reduce/plan_file_groups.h"

namespace kintsugi::training::reduce {
namespace {

using common::format_number;
using common::yaml_scalar;

constexpr std::int64_t kAny = std::numeric_limits<std::int64_t>::max();

std::string constraint_yaml(const configs::ConstraintConfig& constraint) {
  return constraint.accuracy
             ? fmt::format("{{accuracy: {}}}", format_number(*constraint.accuracy))
             : fmt::format("{{accuracy_drop: {}}}", format_number(constraint.accuracy_drop.value_or(0)));
}

const std::vector<std::pair<std::string, configs::PolicyName>> kPolicies{
    {"max", configs::PolicyName::max},
    {"mean", configs::PolicyName::mean},
    {"fixed", configs::PolicyName::fixed},
    {"quantile", configs::PolicyName::quantile},
    {"adaptive", configs::PolicyName::adaptive}};
const std::vector<std::pair<std::string, configs::Predictor>> kPredictors{
    {"fault_rate", configs::Predictor::fault_rate},
    {"mapped_fault_rate", configs::Predictor::mapped_fault_rate},
    {"pruned_saliency", configs::Predictor::pruned_saliency},
    {"loss", configs::Predictor::loss}};
const std::vector<std::pair<std::string, configs::Extend>> kExtends{{"estimate", configs::Extend::estimate},
                                                                    {"interval", configs::Extend::interval}};

template <class T>
std::string word_of(const std::vector<std::pair<std::string, T>>& words, T value) {
  for (const auto& [word, meaning] : words)
    if (meaning == value) return word;
  return "";
}

std::string policy_yaml(const configs::PolicyConfig& policy) {
  using enum configs::PolicyName;
  std::string text = "{name: " + word_of(kPolicies, policy.name);
  if (policy.name == fixed) text += fmt::format(", steps: {}", policy.steps);
  if (policy.name == quantile)
    text += fmt::format(", coverage: {}, confidence: {}", format_number(policy.coverage),
                        format_number(policy.confidence));
  if (policy.name == adaptive) text += ", extend: " + word_of(kExtends, policy.extend);
  if (policy.predictor != configs::Predictor::fault_rate)
    text += ", predictor: " + word_of(kPredictors, policy.predictor);
  return text + "}";
}

configs::PolicyConfig read_policy(configs::Section section) {
  using enum configs::PolicyName;
  configs::PolicyConfig policy;
  policy.name = section.choice<configs::PolicyName>("name", kPolicies);
  if (policy.name == fixed) policy.steps = section.integer("steps", 0, kAny);
  if (policy.name == quantile) {
    policy.coverage = section.real("coverage", 0, 1);
    policy.confidence = section.real("confidence", 0, 1);
  }
  if (policy.name == adaptive) policy.extend = section.choice<configs::Extend>("extend", kExtends);
  policy.predictor =
      section.choice<configs::Predictor>("predictor", kPredictors, configs::Predictor::fault_rate);
  return policy;
}

std::string calibration_yaml(const std::optional<Calibration>& calibration) {
  if (!calibration) return "";
  return fmt::format(
      "  guarantee:\n"
      "    statement: {}\n"
      "    coverage: {}\n"
      "    confidence: {}\n"
      "    calibrated_on: {}\n"
      "    chips: {}\n"
      "    rejected: {}  # beyond the characterised range: not promised anything, and not counted above\n"
      "    never: {}  # of those counted, met the constraint at no amount\n"
      "{}",
      yaml_scalar(statement(*calibration)), format_number(calibration->guarantee.coverage),
      format_number(calibration->guarantee.confidence), calibration->source, calibration->chips,
      calibration->rejected, calibration->never,
      calibration->bound ? fmt::format("    bound_steps: {}\n", *calibration->bound) : "");
}

Calibration read_calibration(configs::Section section) {
  Calibration calibration;
  section.text("statement");  // for people: it follows from the rest
  calibration.guarantee = {section.real("coverage", 0, 1), section.real("confidence", 0, 1)};
  calibration.source = section.text("calibrated_on");
  calibration.chips = section.integer("chips", 0, kAny);
  calibration.rejected = section.integer("rejected", 0, kAny);
  calibration.never = section.integer("never", 0, kAny);
  if (section.has("bound_steps")) calibration.bound = section.integer("bound_steps", -kAny, kAny);
  return calibration;
}

std::string chip_yaml(const ChipPlan& plan) {
  const ChipFacts& facts = plan.facts;
  std::string rates;
  for (const auto& [layer, rate] : facts.mapped_fault_rate)
    rates += fmt::format("{}{}: {}", rates.empty() ? "" : ", ", yaml_scalar(layer), format_number(rate));
  std::string before, repaired;
  if (facts.before) {
    const Interval change = facts.before->change();
    before = fmt::format(
        "      accuracy_before: {}\n"
        "      accuracy_change: {}  # against the fault-free chip; 95 % interval {:+.5f} ... {:+.5f}\n"
        "      before: {{correct: {}, gained: {}, lost: {}}}\n",
        format_number(facts.before->accuracy()), format_number(change.estimate), change.low, change.high,
        facts.before->correct, facts.before->gained, facts.before->lost);
  }
  if (facts.repaired)
    repaired = fmt::format(
        "      accuracy_repaired: {}\n      repaired: {{correct: {}, gained: {}, lost: {}}}\n      "
        "repair_steps: {{mapping: {}, compensation: {}, batch_norm: {}}}\n",
        format_number(facts.repaired->accuracy()), facts.repaired->correct, facts.repaired->gained,
        facts.repaired->lost, format_number(facts.repair_steps.mapping),
        format_number(facts.repair_steps.compensation), format_number(facts.repair_steps.batch_norm));
  std::string predictors;
  if (facts.predictors)
    predictors =
        fmt::format("      predictors: {{mapped_fault_rate: {}, pruned_saliency: {}, loss: {}}}\n",
                    format_number(facts.predictors->mapped_fault_rate),
                    format_number(facts.predictors->pruned_saliency), format_number(facts.predictors->loss));
  std::string dropped;
  if (facts.dropped)
    dropped = fmt::format("      dropped: {{columns: {}, rows: {}, channels: {}, cycle_factor: {}{}}}\n",
                          facts.dropped->columns, facts.dropped->rows, facts.dropped->channels,
                          format_number(facts.dropped->cycle_factor),
                          facts.dropped->problem.empty()
                              ? ""
                              : fmt::format(", problem: {}", yaml_scalar(facts.dropped->problem)));
  std::string predicted;
  if (plan.predicted)
    predicted = fmt::format("      predicted: {{accuracy: {}, low: {}, high: {}}}\n",
                            format_number(plan.predicted->estimate), format_number(plan.predicted->low),
                            format_number(plan.predicted->high));
  return fmt::format(
      "    - id: {}\n"
      "      fault_map: {}\n"
      "      fault_map_sha256: {}\n"
      "      faulty_pes: {}\n"
      "      fault_rate: {}\n"
      "      assumed_maskable: {}\n"
      "      live_faults: {}\n"
      "      mapped_fault_rate: {{{}}}\n"
      "{}"
      "{}{}{}{}"
      "      plan: {}\n"
      "      planned_steps: {}\n"
      "      planned_epochs: {}\n"
      "{}{}"
      "      reason: {}\n",
      yaml_scalar(facts.id), yaml_scalar(facts.fault_map), facts.fault_map_sha256, facts.faulty_pes,
      format_number(facts.fault_rate), facts.assumed_maskable, facts.live_faults, rates, before, dropped,
      repaired, predictors, plan.calibrated ? "      calibrated: true\n" : "", to_string(plan.verdict),
      plan.planned_steps, format_number(plan.planned_epochs), predicted,
      plan.group ? fmt::format("      group: {}\n", yaml_scalar(*plan.group)) : "", yaml_scalar(plan.reason));
}

ChipPlan read_chip_plan(configs::Section section, const Plan& plan_of) {
  ChipPlan plan;
  ChipFacts& facts = plan.facts;
  facts.id = section.text("id");
  facts.fault_map = section.text("fault_map");
  facts.fault_map_sha256 = section.text("fault_map_sha256");
  facts.faulty_pes = section.integer("faulty_pes", 0, kAny);
  facts.fault_rate = section.real("fault_rate", 0, 1);
  facts.assumed_maskable = section.integer("assumed_maskable", 0, kAny);
  facts.live_faults = section.integer("live_faults", 0, kAny);
  configs::Section rates = section.section("mapped_fault_rate");
  for (const std::string& layer : rates.keys())
    facts.mapped_fault_rate.emplace_back(layer, rates.real(layer, 0, 1));
  const std::int64_t images = plan_of.baseline.images;
  const auto score = [images](configs::Section counts) {
    return Score{images, counts.integer("correct", 0, images), counts.integer("gained", 0, images),
                 counts.integer("lost", 0, images)};
  };
  if (plan_of.accuracy_check && plan_of.check_before_repair) {
    section.real("accuracy_before", 0, 1);  // for people; `before` has the counts
    section.real("accuracy_change", -1, 1);
    facts.before = score(section.section("before"));
  }
  if (auto repaired = section.optional_section("repaired")) {
    section.real("accuracy_repaired", 0, 1);
    facts.repaired = score(*repaired);
    configs::Section steps = section.section("repair_steps");
    facts.repair_steps = {steps.real("mapping", 0, 1e18), steps.real("compensation", 0, 1e18),
                          steps.real("batch_norm", 0, 1e18)};
  }
  if (auto predictors = section.optional_section("predictors"))
    facts.predictors =
        Predictors{predictors->real("mapped_fault_rate", 0, 1), predictors->real("pruned_saliency", 0, 1),
                   predictors->real("loss", 0, 1e18)};
  if (auto dropped = section.optional_section("dropped"))
    facts.dropped = repair::Dropped{dropped->integer("columns", 0, kAny), dropped->integer("rows", 0, kAny),
                                    dropped->integer("channels", 0, kAny),
                                    dropped->real("cycle_factor", 0, 1e9), dropped->text("problem", "")};
  if (auto predicted = section.optional_section("predicted"))
    plan.predicted = Interval{predicted->real("accuracy", -1, 2), predicted->real("low", -1, 2),
                              predicted->real("high", -1, 2)};
  plan.calibrated = section.boolean("calibrated", false);
  plan.verdict = section.choice<Verdict>("plan", {{"ship", Verdict::ship},
                                                  {"repair", Verdict::repair},
                                                  {"retrain", Verdict::retrain},
                                                  {"reject", Verdict::reject}});
  plan.planned_steps = section.integer("planned_steps", 0, kAny);
  plan.planned_epochs = section.real("planned_epochs", 0, 1e18);
  if (section.has("group")) plan.group = section.text("group");
  plan.reason = section.text("reason");
  if (plan.group && plan.verdict != Verdict::retrain)
    section.error("plan",
                  fmt::format("chip '{}' is in group '{}', which is retrained; write 'plan: retrain', "
                              "or take the chip out of the group, here and in 'groups'",
                              facts.id, *plan.group));
  if (plan.group && (facts.live_faults > 0 || facts.dropped))
    section.error(
        "group",
        fmt::format("chip '{}' has faults that no bypass hides, and the network of group '{}' is not "
                    "made for them; take the chip out of the group, here and in 'groups'",
                    facts.id, *plan.group));
  if ((plan.verdict == Verdict::retrain) != (plan.planned_steps > 0))
    section.error("planned_steps",
                  fmt::format("'plan: {}' does not go with {} planned steps; retrain needs at "
                              "least 1, ship, repair and reject need 0",
                              to_string(plan.verdict), plan.planned_steps));
  return plan;
}

}  // namespace

std::string plan_yaml(const Plan& plan) {
  std::string text = fmt::format(
      "# What is done with each chip; made by kintsugi reduce plan. Amounts are mini-batch steps.\n"
      "plan:\n"
      "  version: 1\n"
      "  network: {}\n"
      "  weights_sha256: {}\n"
      "  dataset: {}\n"
      "  decided_on: {}\n"
      "  constraint: {}\n"
      "  policy: {}\n"
      "{}{}{}"
      "  steps_per_epoch: {}\n"
      "  baseline: {{images: {}, correct: {}, accuracy: {}}}\n"
      "{}"
      "  chips:{}\n",
      yaml_scalar(plan.network), plan.weights_sha256, yaml_scalar(plan.dataset), plan.decided_on,
      constraint_yaml(plan.constraint), policy_yaml(plan.policy), calibration_yaml(plan.calibration),
      plan.accuracy_check ? "" : "  accuracy_check: false  # no chip was measured before it was planned\n",
      plan.check_before_repair ? ""
                               : "  check_before_repair: false  # chips were measured after repair only\n",
      plan.steps_per_epoch, plan.baseline.images, plan.baseline.correct,
      format_number(plan.baseline.accuracy()), groups_yaml(plan), plan.chips.empty() ? " []" : "");
  for (const ChipPlan& chip : plan.chips) text += chip_yaml(chip);
  return text;
}

Plan read_plan(const std::filesystem::path& file) {
  configs::YamlFile yaml(file, "plan");
  configs::Section root = yaml.root();
  Plan plan;
  root.integer("version", 1, 1);
  plan.network = root.text("network");
  plan.weights_sha256 = root.text("weights_sha256");
  plan.dataset = root.text("dataset");
  plan.decided_on = root.text("decided_on");
  configs::Section constraint = root.section("constraint");
  if (constraint.has("accuracy"))
    plan.constraint.accuracy = constraint.real("accuracy", 0, 1);
  else
    plan.constraint.accuracy_drop = constraint.real("accuracy_drop", 0, 1);
  plan.policy = read_policy(root.section("policy"));
  if (auto guarantee = root.optional_section("guarantee")) plan.calibration = read_calibration(*guarantee);
  plan.accuracy_check = root.boolean("accuracy_check", true);
  plan.check_before_repair = root.boolean("check_before_repair", true);
  plan.steps_per_epoch = root.integer("steps_per_epoch", 1, kAny);
  configs::Section baseline = root.section("baseline");
  plan.baseline.images = baseline.integer("images", 1, kAny);
  plan.baseline.correct = baseline.integer("correct", 0, plan.baseline.images);
  baseline.real("accuracy", 0, 1);
  std::set<std::string> ids;
  for (configs::Section& chip : root.sections("chips")) {
    plan.chips.push_back(read_chip_plan(chip, plan));
    if (!ids.insert(plan.chips.back().facts.id).second)
      chip.error("id", fmt::format("chip '{}' stands in the plan twice", plan.chips.back().facts.id));
  }
  read_groups(root, plan);
  yaml.finish();
  return plan;
}

}  // namespace kintsugi::training::reduce

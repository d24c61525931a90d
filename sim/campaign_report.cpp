#include "sim/campaign_report.h"

#include <fmt/format.h>

#include <algorithm>

#include "common/csv.h"
#include "common/text.h"
#include "training/reduce/plan_file.h"

namespace kintsugi::sim {
namespace {

using common::format_number;
using reduce::Outcome;

double share(std::int64_t part, std::int64_t whole) {
  return whole > 0 ? static_cast<double>(part) / static_cast<double>(whole) : 0;
}

std::string share_text(std::int64_t part, std::int64_t whole) {
  return format_number(share(part, whole));
}

std::string optional_number(const std::optional<double>& value) {
  return value ? format_number(*value) : "";
}

std::string policy_yaml(const reduce::PolicyLine& line, std::int64_t steps_per_epoch) {
  return fmt::format(
      "    - {{policy: {}, chips_meeting: {}, of: {}, share_low: {:.4f}, share_high: {:.4f}, pass: {}, "
      "undecided: {}, "
      "fail: {}, rejected: {}, total_steps: {}, mean_steps: {}, mean_epochs: {}, repair_steps: {:.1f}, "
      "check_steps: {:.1f}, arithmetic_steps: {:.1f}{}}}\n",
      common::yaml_scalar(line.policy), line.met, line.chips, line.met_share.low, line.met_share.high,
      line.pass, line.undecided, line.fail, line.rejected, line.total_steps, format_number(line.mean_steps),
      format_number(line.mean_steps / static_cast<double>(steps_per_epoch)), line.repair_steps,
      line.check_steps, line.arithmetic(),
      line.break_even_chips ? fmt::format(", break_even_chips: {}", *line.break_even_chips) : "");
}

std::string arithmetic_yaml(const Arithmetic& spent) {
  return fmt::format(
      "{{mapping: {:.1f}, compensation: {:.1f}, batch_norm: {:.1f}, checks: {:.1f}, retraining: {}, "
      "total: {:.1f}}}",
      spent.repair.mapping, spent.repair.compensation, spent.repair.batch_norm, spent.checks,
      spent.retraining, spent.total());
}

std::string guarantee_yaml(const std::optional<GuaranteeCheck>& guarantee) {
  if (!guarantee) return "";
  const reduce::Interval share = reduce::wilson(guarantee->met, guarantee->chips);
  return fmt::format(
      "  guarantee:\n"
      "    statement: {}\n"
      "    # On the chips of this lot that were neither calibrated on nor rejected, decision images:\n"
      "    checked: {{chips: {}, meeting: {}, share_low: {:.4f}, share_high: {:.4f}}}\n",
      common::yaml_scalar(reduce::statement(guarantee->calibration)), guarantee->chips, guarantee->met,
      share.low, share.high);
}

// Of the chips with faults that no bypass hides; those that are shipped as they are drop nothing.
std::string dropped_yaml(const CampaignReport& report) {
  if (!report.drops) return "";
  std::int64_t chips = 0, rejected = 0, columns = 0, rows = 0, channels = 0;
  double cycles = 0, most = 0;
  for (const ChipReport& chip : report.chips) {
    const auto& dropped = chip.plan.facts.dropped;
    if (!dropped || chip.plan.verdict == reduce::Verdict::ship) continue;
    ++chips;
    if (!dropped->problem.empty()) {
      ++rejected;
      continue;
    }
    columns += dropped->columns;
    rows += dropped->rows;
    channels += dropped->channels;
    cycles += dropped->cycle_factor;
    most = std::max(most, dropped->cycle_factor);
  }
  return fmt::format(
      "  dropped: {{chips: {}, impossible: {}, columns: {}, rows: {}, channels: {}, mean_cycle_factor: {}, "
      "highest_cycle_factor: {}}}  # chips with faults that no bypass hides\n",
      chips, rejected, columns, rows, channels,
      chips > rejected ? format_number(cycles / static_cast<double>(chips - rejected)) : "none",
      chips > rejected ? format_number(most) : "none");
}

std::string groups_yaml(const std::optional<GroupsReport>& groups) {
  if (!groups) return "";
  return fmt::format(
      "  # Chips that share a network; saving: by the plan, in steps, repair and checks counted.\n"
      "  groups: {{groups: {}, chips: {}, planned_alone: {}, planned_steps: {}, saving: {:.1f}}}\n",
      groups->groups, groups->chips, groups->planned_alone, groups->planned_steps, groups->saving);
}

std::string dropped_cells(const reduce::ChipPlan& plan) {
  const auto& dropped = plan.facts.dropped;
  if (!dropped || plan.verdict == reduce::Verdict::ship) return ",0,0,0,1";
  return fmt::format(",{},{},{},{}", dropped->columns, dropped->rows, dropped->channels,
                     format_number(dropped->cycle_factor));
}

}  // namespace

Arithmetic& Arithmetic::operator+=(const Arithmetic& other) {
  repair.mapping += other.repair.mapping;
  repair.compensation += other.repair.compensation;
  repair.batch_norm += other.repair.batch_norm;
  checks += other.checks;
  retraining += other.retraining;
  return *this;
}

std::string leak_column(const std::string& decided_on, bool header) {
  if (decided_on != "test") return "";
  return header ? ",decided_on" : ",test (leak_as_published)";
}

std::string results_csv(const CampaignReport& report) {
  std::string text =
      "chip,faulty_pes,fault_rate,plan,planned_steps,planned_epochs,accuracy_before,steps_spent,decision_"
      "accuracy,"
      "test_accuracy_float,test_accuracy_fault_free,test_accuracy,test_change,test_change_low,test_change_"
      "high,"
      "outcome,mapping_steps,compensation_steps,batch_norm_steps,check_steps,arithmetic_steps" +
      std::string(report.groups ? ",group" : "") +
      std::string(report.drops ? ",dropped_columns,dropped_rows,dropped_channels,cycle_factor" : "") +
      leak_column(report.decided_on, true) + "\n";
  for (const ChipReport& chip : report.chips) {
    const reduce::ChipFacts& facts = chip.plan.facts;
    text += fmt::format("{},{},{},{},{},{},{},", common::csv_cell(facts.id), facts.faulty_pes,
                        format_number(facts.fault_rate), reduce::to_string(chip.plan.verdict),
                        chip.plan.planned_steps, format_number(chip.plan.planned_epochs),
                        facts.before ? format_number(facts.before->accuracy()) : std::string());
    if (chip.reached) {
      const RetrainedPoint& point = *chip.reached;
      const reduce::Interval change = point.test.change();
      text += fmt::format("{},{},{},{},{},{},{},{},", chip.spent.retraining,
                          format_number(point.decision.accuracy()),
                          share_text(point.test_float_correct.value_or(0), point.test.images),
                          share_text(point.test_fault_free_correct.value_or(0), point.test.images),
                          format_number(point.test.accuracy()), format_number(change.estimate),
                          format_number(change.low), format_number(change.high));
    } else {
      text += "0,,,,,,,,";
    }
    const Arithmetic& spent = chip.spent;
    text +=
        fmt::format("{},{:.2f},{:.2f},{:.2f},{:.2f},{:.2f}{}{}{}\n", reduce::to_string(chip.outcome),
                    spent.repair.mapping, spent.repair.compensation, spent.repair.batch_norm, spent.checks,
                    spent.total(), report.groups ? "," + common::csv_cell(chip.plan.group.value_or("")) : "",
                    report.drops ? dropped_cells(chip.plan) : "", leak_column(report.decided_on, false));
  }
  return text;
}

std::string compare_csv(const CampaignReport& report) {
  std::string text =
      "policy,fault_rate_above,fault_rate_up_to,chips,chips_meeting,share_low,share_high,pass,undecided,fail,"
      "rejected,"
      "total_steps,mean_steps,mean_epochs,break_even_chips,repair_steps,check_steps,arithmetic_steps" +
      leak_column(report.decided_on, true) + "\n";
  const auto line = [&](const reduce::PolicyLine& l) {
    text += fmt::format("{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{:.1f},{:.1f},{:.1f}{}\n",
                        common::csv_cell(l.policy), optional_number(l.stratum.low),
                        optional_number(l.stratum.high), l.chips, l.met, format_number(l.met_share.low),
                        format_number(l.met_share.high), l.pass, l.undecided, l.fail, l.rejected,
                        l.total_steps, format_number(l.mean_steps),
                        format_number(l.mean_steps / static_cast<double>(report.steps_per_epoch)),
                        l.break_even_chips ? fmt::format("{}", *l.break_even_chips) : "", l.repair_steps,
                        l.check_steps, l.arithmetic(), leak_column(report.decided_on, false));
  };
  for (const PolicyReport& policy : report.policies) line(policy.all);
  for (const PolicyReport& policy : report.policies)
    for (const reduce::PolicyLine& stratum : policy.strata) line(stratum);
  return text;
}

std::string timings_csv(const CampaignReport& report, const std::vector<PhaseTimes>& phases) {
  std::string text = "of,stage,tasks,cpu_seconds,wall_seconds,count\n";
  for (const PhaseTimes& phase : phases)
    for (const auto& [stage, time] : phase.stages)
      text += fmt::format("phase {},{},{},{:.3f},{:.3f},{}\n", phase.phase, stage, phase.tasks,
                          time.seconds.cpu, time.seconds.wall, time.count);
  for (const PolicyReport& policy : report.policies)
    if (policy.seconds)
      text +=
          fmt::format("{},all,{},{:.3f},{:.3f},{}\n", common::csv_cell("policy " + policy.all.policy),
                      policy.all.chips, policy.seconds->cpu, policy.seconds->wall, policy.all.total_steps);
  return text;
}

std::string resilience_csv(const std::vector<reduce::RateResilience>& rates, const std::string& decided_on) {
  std::string text =
      "fault_rate,min_steps,mean_steps,max_steps,censored" + leak_column(decided_on, true) + "\n";
  for (const reduce::RateResilience& r : rates)
    text += fmt::format("{},{},{},{},{}{}\n", format_number(r.fault_rate), r.min_steps,
                        format_number(r.mean_steps), r.max_steps, r.censored, leak_column(decided_on, false));
  return text;
}

std::string summary_yaml(const CampaignReport& report) {
  std::int64_t verdicts[4] = {0, 0, 0, 0};
  std::int64_t outcomes[4] = {0, 0, 0, 0};
  Arithmetic spent;
  std::int64_t planned = 0, faulty = 0, assumed = 0, live = 0;
  for (const ChipReport& chip : report.chips) {
    ++verdicts[static_cast<int>(chip.plan.verdict)];
    ++outcomes[static_cast<int>(chip.outcome)];
    planned += chip.plan.planned_steps;
    spent += chip.spent;
    faulty += chip.plan.facts.faulty_pes;
    assumed += chip.plan.facts.assumed_maskable;
    live += chip.plan.facts.live_faults;
  }
  if (report.groups) planned += report.groups->planned_steps - report.groups->planned_alone;
  std::string text = fmt::format(
      "summary:\n"
      "  chip: {}\n  network: {}\n  dataset: {}\n  constraint: {}\n"
      "  decided_on: {}  # which images the constraint was decided on\n"
      "  judged_on: test\n"
      "  policy: {}\n"
      "  accuracy_without_faults:\n"
      "    decision: {{images: {}, float: {}, int8: {}}}\n"
      "    test: {{images: {}, float: {}, int8: {}}}\n"
      "  chips: {}\n"
      "  plan: {{ship: {}, repair: {}, retrain: {}, reject: {}}}\n"
      "  outcome: {{pass: {}, undecided: {}, fail: {}, rejected: {}}}\n"
      "  planned_steps: {}\n"
      "  repair_steps: {:.1f}  # the arithmetic of all repairs, in steps of retraining\n"
      "  characterization_steps: {}\n"
      "  arithmetic:  # in steps of retraining: multiply-adds / those of one SGD step\n"
      "    characterization: {}\n"
      "    shared_repair: {:.1f}  # what repairs of all maps and chips have in common, counted once\n"
      "{}"
      "    chips: {}\n"
      "  steps_per_epoch: {}\n"
      "  assumed_maskable: {}  # faults of unknown nature, taken to be hidden by the bypass, of {} faulty "
      "PEs\n"
      "  live_faults: {}  # faulty PEs that act in spite of the bypass\n"
      "  test_coverage: {}\n",
      common::yaml_scalar(report.chip), common::yaml_scalar(report.network),
      common::yaml_scalar(report.dataset), common::yaml_scalar(report.constraint), report.decided_on,
      common::yaml_scalar(report.policy), report.decision_images,
      share_text(report.decision_float, report.decision_images),
      share_text(report.decision_int8, report.decision_images), report.test_images,
      share_text(report.test_float, report.test_images), share_text(report.test_int8, report.test_images),
      report.chips.size(), verdicts[0], verdicts[1], verdicts[2], verdicts[3],
      outcomes[static_cast<int>(Outcome::pass)], outcomes[static_cast<int>(Outcome::undecided)],
      outcomes[static_cast<int>(Outcome::fail)], outcomes[static_cast<int>(Outcome::rejected)], planned,
      spent.repair.total(), report.characterization.retraining, arithmetic_yaml(report.characterization),
      report.shared_repair_steps,
      report.calibration_chips > 0 ? fmt::format("    calibration: {}\n", arithmetic_yaml(report.calibration))
                                   : "",
      arithmetic_yaml(spent), report.steps_per_epoch, assumed, faulty, live,
      report.escapes == 0 ? std::string("\"assumed 100 %\"")
                          : fmt::format("\"{} faults escaped the test\"", report.escapes));
  text += groups_yaml(report.groups);
  text += dropped_yaml(report);
  text += guarantee_yaml(report.guarantee);
  if (!report.policies.empty()) text += "  compare:\n";
  for (const PolicyReport& policy : report.policies) text += policy_yaml(policy.all, report.steps_per_epoch);
  return text;
}

}  // namespace kintsugi::sim

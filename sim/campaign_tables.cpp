// The terminal tables of campaign_report.h; at most 100 columns wide for chip ids of up to 14 characters.
#include <fmt/format.h>

#include <algorithm>

#include "common/text.h"
#include "sim/campaign_report.h"
#include "sim/text_table.h"

namespace kintsugi::sim {
namespace {

using common::format_number;
using common::format_percent;
using reduce::Outcome;

// A line a chip up to here.
constexpr std::size_t kMostLines = 200;

// For columns whose header says %.
std::string bare_percent(double fraction) {
  return fmt::format("{:.2f}", 100 * fraction);
}

// Empty if it was not measured.
std::string accuracy_text(const std::optional<reduce::Score>& score) {
  return score ? bare_percent(score->accuracy()) : std::string();
}

std::string rate_bare(double rate) {
  return fmt::format("{:.4g}", 100 * rate);
}

std::string rate_text(double rate) {
  return fmt::format("{:.4g} %", 100 * rate);
}

Tone tone_of(Outcome outcome) {
  switch (outcome) {
    case Outcome::pass:
      return Tone::good;
    case Outcome::undecided:
      return Tone::doubtful;
    case Outcome::fail:
      return Tone::bad;
    case Outcome::rejected:
      return Tone::dim;
  }
  return Tone::plain;
}

Tone tone_of(reduce::Verdict verdict) {
  switch (verdict) {
    case reduce::Verdict::ship:
    case reduce::Verdict::repair:
      return Tone::good;
    case reduce::Verdict::retrain:
      return Tone::plain;
    case reduce::Verdict::reject:
      return Tone::dim;
  }
  return Tone::plain;
}

std::string decided_note(const std::string& decided_on) {
  return decided_on == "test" ? "  (leak_as_published: decided on the test set)" : "";
}

// In points: "-0.41 [-0.78, -0.03]".
std::string change_text(const reduce::Interval& change) {
  return fmt::format("{:+.2f} [{:+.2f}, {:+.2f}]", 100 * change.estimate, 100 * change.low,
                     100 * change.high);
}

std::string stratum_name(const reduce::Stratum& stratum) {
  if (!stratum.high) return "> " + rate_text(stratum.low.value_or(0));
  if (!stratum.low) return "≤ " + rate_text(*stratum.high);
  return fmt::format("{:.4g}–{:.4g} %", 100 * *stratum.low, 100 * *stratum.high);
}

std::string guarantee_text(const GuaranteeCheck& guarantee) {
  const reduce::Interval share = reduce::wilson(guarantee.met, guarantee.chips);
  return fmt::format(
      "Guarantee: {}.\nChecked on {} chips that it was not calibrated on: {} meet it ({:.0f} ... {:.0f} "
      "%).\n",
      reduce::statement(guarantee.calibration), guarantee.chips, guarantee.met, 100 * share.low,
      100 * share.high);
}

std::string plan_title(const reduce::Plan& plan) {
  return fmt::format("Plan{}{}\n\n", decided_note(plan.decided_on),
                     plan.accuracy_check ? "" : "  (from fault maps alone: no chip's accuracy was measured)");
}

// What grouping comes to.
std::string groups_text(const reduce::Plan& plan) {
  if (!plan.groups) return "";
  if (plan.groups->empty()) return "\nGroups: none would cost less than its chips one by one.\n";
  std::int64_t steps = 0, alone = 0, chips = 0;
  double saving = 0;
  for (const reduce::PlannedGroup& group : *plan.groups) {
    steps += group.planned_steps;
    saving += group.saving;
  }
  for (const reduce::ChipPlan& chip : plan.chips) {
    chips += chip.group ? 1 : 0;
    alone += chip.group ? chip.planned_steps : 0;
  }
  return fmt::format(
      "\nGroups: {} chips share {} network{}, {} steps instead of {}; with repairs and checks {:.0f} less.\n",
      chips, plan.groups->size(), plan.groups->size() == 1 ? "" : "s", steps, alone, saving);
}

// Of a lot too large for a line a chip.
std::string short_plan_table(const reduce::Plan& plan, bool colours) {
  TextTable table;
  table.column("plan", Align::left);
  table.column("chips");
  table.column("steps");
  using enum reduce::Verdict;
  for (const reduce::Verdict verdict : {ship, repair, retrain, reject}) {
    std::int64_t chips = 0, steps = 0;
    for (const reduce::ChipPlan& chip : plan.chips) {
      if (chip.verdict != verdict) continue;
      ++chips;
      steps += chip.planned_steps;
    }
    table.row({{reduce::to_string(verdict), tone_of(verdict)},
               {fmt::format("{}", chips)},
               {fmt::format("{}", steps)}});
  }
  return plan_title(plan) + table.render(colours) +
         fmt::format("\n{} chips; each has its lines in plan.yaml.\n", plan.chips.size()) + groups_text(plan);
}

}  // namespace

std::string resilience_table(const std::vector<reduce::RateResilience>& rates, const std::string& decided_on,
                             bool colours) {
  TextTable table;
  table.column("fault rate");
  table.column("min steps");
  table.column("mean steps");
  table.column("max steps");
  table.column("never met", Align::left);
  for (const reduce::RateResilience& r : rates)
    table.row({{rate_text(r.fault_rate)},
               {fmt::format("{}", r.min_steps)},
               {fmt::format("{:.1f}", r.mean_steps)},
               {fmt::format("{}", r.max_steps)},
               {r.censored > 0 ? fmt::format("{} of {}{}", r.censored, r.repeats,
                                             r.hopeless() ? ": rejects its chips" : "")
                               : "",
                r.hopeless() ? Tone::bad : Tone::doubtful}});
  return fmt::format("Retraining needed to meet the constraint, by fault rate{}\n\n{}",
                     decided_note(decided_on), table.render(colours));
}

std::string plan_table(const reduce::Plan& plan, bool colours) {
  if (plan.chips.size() > kMostLines) return short_plan_table(plan, colours);
  TextTable table;
  table.column("chip", Align::left);
  table.column("faulty\nPEs");
  table.column("fault\nrate %");
  const bool before = plan.accuracy_check && plan.check_before_repair;
  if (before) table.column("before\n%");
  const bool repairs = std::any_of(plan.chips.begin(), plan.chips.end(), [](const reduce::ChipPlan& chip) {
    return chip.facts.repaired.has_value();
  });
  if (repairs) table.column("repaired\n%");
  table.column("plan", Align::left);
  table.column("steps");
  table.column("epochs");
  const bool groups = plan.groups && !plan.groups->empty();
  if (groups) table.column("group", Align::left);
  for (const reduce::ChipPlan& chip : plan.chips) {
    std::vector<TableCell> row{
        {chip.facts.id}, {fmt::format("{}", chip.facts.faulty_pes)}, {rate_bare(chip.facts.fault_rate)}};
    if (before) row.push_back({accuracy_text(chip.facts.before)});
    if (repairs) row.push_back({accuracy_text(chip.facts.repaired)});
    row.push_back({reduce::to_string(chip.verdict), tone_of(chip.verdict)});
    row.push_back({fmt::format("{}", chip.planned_steps)});
    row.push_back({fmt::format("{:.2f}", chip.planned_epochs)});
    if (groups) row.push_back({chip.group.value_or("")});
    table.row(row);
  }
  return plan_title(plan) + table.render(colours) + groups_text(plan);
}

std::string chips_table(const CampaignReport& report, bool colours) {
  TextTable table;
  table.column("chip", Align::left);
  table.column("fault\nrate %");
  const bool before = std::any_of(report.chips.begin(), report.chips.end(), [](const ChipReport& chip) {
    return chip.plan.facts.before || !chip.plan.facts.repaired;
  });
  table.column(before ? "before\n%" : "repaired\n%");
  table.column("plan", Align::left);
  table.column("planned\nsteps");
  table.column("spent\nsteps");
  table.column("after\n%");
  table.column("test\n%");
  table.column("change on test\npoints [95 %]");
  table.column("verdict", Align::left);
  for (const ChipReport& chip : report.chips) {
    const reduce::ChipFacts& facts = chip.plan.facts;
    const bool kept = chip.reached.has_value();
    table.row({{facts.id},
               {rate_bare(facts.fault_rate)},
               {accuracy_text(before ? facts.before : facts.repaired)},
               {chip.plan.group.value_or(reduce::to_string(chip.plan.verdict)), tone_of(chip.plan.verdict)},
               {fmt::format("{}", chip.plan.planned_steps)},
               {fmt::format("{}", chip.spent.retraining)},
               {kept ? bare_percent(chip.reached->decision.accuracy()) : "-"},
               {kept ? bare_percent(chip.reached->test.accuracy()) : "-"},
               {kept ? change_text(chip.reached->test.change()) : "-"},
               {reduce::to_string(chip.outcome), tone_of(chip.outcome)}});
  }
  std::string text = fmt::format("Chips: {}, policy {}{}\n\n", report.constraint, report.policy,
                                 decided_note(report.decided_on));
  text += table.render(colours);
  const auto share = [](std::int64_t part, std::int64_t whole) {
    return format_percent(whole > 0 ? static_cast<double>(part) / static_cast<double>(whole) : 0);
  };
  text += fmt::format(
      "\nAccuracy before and after: {} decision images; test: {} images that nothing was decided on{}.\n"
      "Without faults: float {}, int8 {} (decision); float {}, int8 {} (test).\n",
      report.decision_images, report.test_images,
      report.decided_on == "test" ? " - but here everything was" : "",
      share(report.decision_float, report.decision_images),
      share(report.decision_int8, report.decision_images), share(report.test_float, report.test_images),
      share(report.test_int8, report.test_images));
  if (report.groups && report.groups->groups > 0)
    text += "Chips of a group have one network; what it took stands with the first of them.\n";
  std::int64_t assumed = 0, faulty = 0, live = 0, chips_with_live = 0;
  for (const ChipReport& chip : report.chips) {
    assumed += chip.plan.facts.assumed_maskable;
    faulty += chip.plan.facts.faulty_pes;
    live += chip.plan.facts.live_faults;
    chips_with_live += chip.plan.facts.live_faults > 0 ? 1 : 0;
  }
  text += fmt::format("Assumed maskable: {} of {} faults. ", assumed, faulty);
  if (live > 0)
    text += fmt::format(
        "Live in spite of the bypass: {} faulty PE{} of {} chip{}; resilience was characterised {} such "
        "faults.\n",
        live, live == 1 ? "" : "s", chips_with_live, chips_with_live == 1 ? "" : "s",
        report.like_chips ? "with" : "without");
  text += report.escapes == 0 ? "Test coverage assumed: 100 %.\n"
                              : fmt::format("Test escapes: {} live faults.\n", report.escapes);
  return text;
}

std::string compare_table(const CampaignReport& report, bool colours) {
  TextTable table;
  table.column("policy", Align::left);
  table.column("chips meeting it\n[95 % interval]");
  table.column("pass/undecided/\nfail/rejected");
  table.column("steps\ntotal");
  table.column("steps\na chip");
  table.column("arithmetic\na chip");
  table.column("CPU s\na chip");
  table.column("max pays\noff from\n(chips)");
  const bool max = std::any_of(report.policies.begin(), report.policies.end(),
                               [](const PolicyReport& policy) { return policy.all.policy == "max"; });
  for (const PolicyReport& policy : report.policies) {
    const reduce::PolicyLine& l = policy.all;
    const bool compared = max && l.policy.starts_with("fixed");
    const auto chips = static_cast<double>(std::max<std::int64_t>(1, l.chips));
    table.row({{l.policy},
               {fmt::format("{} of {} [{:.0f}, {:.0f}]", l.met, l.chips, 100 * l.met_share.low,
                            100 * l.met_share.high)},
               {fmt::format("{}/{}/{}/{}", l.pass, l.undecided, l.fail, l.rejected),
                l.fail > 0 ? Tone::bad : Tone::plain},
               {fmt::format("{}", l.total_steps)},
               {fmt::format("{:.1f}", l.mean_steps)},
               {fmt::format("{:.1f}", l.mean_arithmetic())},
               {policy.seconds ? fmt::format("{:.2f}", policy.seconds->cpu / chips) : "?"},
               {!compared            ? ""
                : l.break_even_chips ? fmt::format("{}", *l.break_even_chips)
                                     : "never"}});
  }
  std::string text = fmt::format("Policies compared: {}, on the test set{}\n\n", report.constraint,
                                 decided_note(report.decided_on)) +
                     table.render(colours);
  text += fmt::format(
      "\nSteps: of retraining. Arithmetic: with repairs and checks on decision images, in steps.\n"
      "Characterisation cost {} steps ({:.0f} with its repairs and checks), once{}.\n",
      report.characterization.retraining, report.characterization.total() + report.shared_repair_steps,
      max ? "; from the number of chips on the\n"
            "right, policy max has earned that back against retraining every chip by that fixed amount"
          : "");
  if (report.calibration_chips > 0)
    text +=
        fmt::format("Calibration of policy quantile cost {} steps ({:.0f} with repairs and checks), once.\n",
                    report.calibration.retraining, report.calibration.total());
  if (report.guarantee) text += guarantee_text(*report.guarantee);
  if (report.policies.empty() || report.policies[0].strata.size() < 2) return text;

  TextTable strata;
  strata.column("policy", Align::left);
  for (const reduce::PolicyLine& line : report.policies[0].strata) strata.column(stratum_name(line.stratum));
  for (const PolicyReport& policy : report.policies) {
    std::vector<TableCell> cells{{policy.all.policy}};
    for (const reduce::PolicyLine& line : policy.strata)
      cells.push_back({fmt::format("{}/{} · {:.0f}", line.met, line.chips, line.mean_steps)});
    strata.row(std::move(cells));
  }
  return text + "\nBy fault rate: chips meeting it / chips · steps a chip\n\n" + strata.render(colours);
}

}  // namespace kintsugi::sim

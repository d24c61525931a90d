// What a campaign hands back: results.csv, compare.csv, summary.yaml, and the tables on the terminal.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "common/stopwatch.h"
#include "sim/campaign_folder.h"
#include "sim/campaign_timings.h"
#include "training/reduce/comparison.h"
#include "training/reduce/plan.h"
#include "training/reduce/resilience.h"

namespace kintsugi::sim {

// Arithmetic, in steps of retraining: multiply-adds / those of one SGD step. What only the experiment does
// (test images, float and fault-free figures) is not counted.
struct Arithmetic {
  reduce::RepairSteps repair;
  double checks = 0;            // accuracies on decision images
  std::int64_t retraining = 0;  // steps run
  double total() const { return repair.total() + checks + static_cast<double>(retraining); }
  Arithmetic& operator+=(const Arithmetic& other);
};

struct ChipReport {
  reduce::ChipPlan plan;
  std::optional<RetrainedPoint> reached;  // absent: rejected
  reduce::Outcome outcome = reduce::Outcome::rejected;
  Arithmetic spent;
};

// The guarantee of policy quantile, checked on chips that it was not calibrated on.
struct GuaranteeCheck {
  reduce::Calibration calibration;
  std::int64_t chips = 0;  // neither calibrated on nor rejected
  std::int64_t met = 0;    // the constraint, on the decision images, after what was planned
};

// Groups of the plan, together.
struct GroupsReport {
  std::int64_t groups = 0;
  std::int64_t chips = 0;          // in groups
  std::int64_t planned_alone = 0;  // steps planned for these chips by themselves …
  std::int64_t planned_steps = 0;  // … and for the groups
  double saving = 0;               // by the plan, repair and checks counted
};

// One policy: over all chips, by stratum, and chip by chip.
struct PolicyReport {
  reduce::PolicyLine all;
  std::vector<reduce::PolicyLine> strata;
  std::vector<reduce::ChipResult> chips;
  // What its chips took: repairs and checks as timed, retraining by what a step of the chip took. Absent
  // where a chip's timings are gone.
  std::optional<common::Seconds> seconds;
};

struct CampaignReport {
  std::string chip, network, dataset;
  std::string constraint;  // "accuracy drop <= 0.01"
  std::string decided_on;  // "decision" or "test"
  std::string policy;      // of the plan
  std::int64_t steps_per_epoch = 1;
  Arithmetic characterization;
  double shared_repair_steps = 0;  // what repairs of all chips have in common, counted once
  std::int64_t calibration_chips = 0;
  Arithmetic calibration;
  // Original weights without faults, float and int8.
  std::int64_t decision_images = 0, decision_float = 0, decision_int8 = 0;
  std::int64_t test_images = 0, test_float = 0, test_int8 = 0;
  std::int64_t escapes = 0;  // over all chips
  bool like_chips = false;   // characterised on maps with such faults as the chips have
  bool drops = false;        // the campaign keeps away from faults that no bypass hides
  std::optional<GuaranteeCheck> guarantee;
  std::optional<GroupsReport> groups;  // absent: grouping was not asked for
  std::vector<ChipReport> chips;
  std::vector<PolicyReport> policies;  // empty before `compare`
};

std::string results_csv(const CampaignReport& report);
std::string compare_csv(const CampaignReport& report);
// Seconds by phase and stage, then by policy. Not the same bytes from run to run.
std::string timings_csv(const CampaignReport& report, const std::vector<PhaseTimes>& phases);
std::string summary_yaml(const CampaignReport& report);
std::string resilience_csv(const std::vector<reduce::RateResilience>& rates, const std::string& decided_on);
// The end of a table's header or of its lines: a last column where the campaign decided on the test set
// (leak_as_published), nothing otherwise.
std::string leak_column(const std::string& decided_on, bool header);

std::string resilience_table(const std::vector<reduce::RateResilience>& rates, const std::string& decided_on,
                             bool colours);
std::string plan_table(const reduce::Plan& plan, bool colours);
std::string chips_table(const CampaignReport& report, bool colours);
std::string compare_table(const CampaignReport& report, bool colours);

}  // namespace kintsugi::sim

// What a campaign hands back: results.csv, compare.csv, summary.yaml, and the tables on the terminal.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "sim/campaign_folder.h"
#include "training/reduce/comparison.h"
#include "training/reduce/plan.h"
#include "training/reduce/resilience.h"

namespace kintsugi::sim {

struct ChipReport {
  reduce::ChipPlan plan;
  std::optional<RetrainedPoint> reached;  // absent: rejected
  reduce::Outcome outcome = reduce::Outcome::rejected;
};

// One policy: over all chips, and by stratum.
struct PolicyReport {
  reduce::PolicyLine all;
  std::vector<reduce::PolicyLine> strata;
};

struct CampaignReport {
  std::string chip, network, dataset;
  std::string constraint;  // "accuracy drop <= 0.01"
  std::string decided_on;  // "decision" or "test"
  std::string policy;      // of the plan
  std::int64_t steps_per_epoch = 1;
  std::int64_t characterization_steps = 0;
  // Original weights without faults, float and int8.
  std::int64_t decision_images = 0, decision_float = 0, decision_int8 = 0;
  std::int64_t test_images = 0, test_float = 0, test_int8 = 0;
  std::int64_t escapes = 0;  // over all chips
  std::vector<ChipReport> chips;
  std::vector<PolicyReport> policies;  // empty before `compare`
};

std::string results_csv(const CampaignReport& report);
std::string compare_csv(const CampaignReport& report);
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

// One policy over everything that was characterised and calibrated: what becomes of a chip.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "training/reduce/calibration.h"
#include "training/reduce/constraint.h"
#include "training/reduce/forecast.h"
#include "training/reduce/plan.h"
#include "training/reduce/resilience.h"

namespace kintsugi::training::reduce {

// What a characterised map, or a chip that calibrates, has shown.
struct Experience {
  double fault_rate = 0;  // of a characterised map, the nominal one
  Predictors predictors;
  Needed needed;
  std::vector<AccuracyRun::Point> accuracy;  // on the decision images
};

struct PlanningData {
  std::vector<RateResilience> rates;    // ascending
  std::vector<Experience> maps;         // characterised, all repeats of all rates
  std::vector<Experience> calibration;  // empty: quantile is not to be planned by
  std::string calibration_source;       // "sampled" or "lot"
  std::vector<std::int64_t> evaluated;  // amounts, ascending from 0
  int repeats = 1;
  std::int64_t steps_per_epoch = 1;
  bool like_chips = false;  // the maps have such faults as the lot's chips have
  bool repairs = false;
};

class Planner {
 public:
  // Throws common::InputError if the policy is quantile and too few chips calibrate.
  Planner(const PlanningData& data, const Constraint& constraint, const configs::PolicyConfig& policy);

  ChipPlan decide(const ChipFacts& facts) const;
  // The amount for one network for chips whose bypassed PEs make up this fault rate together, by the curve
  // over the fault rate; absent where a chip of that rate would be rejected. Not for policies quantile and
  // fixed.
  std::optional<std::int64_t> fused_amount(double fault_rate) const;
  // Accuracy of characterised maps of this fault rate after so many steps: mean, least and greatest.
  std::optional<Interval> expected(double fault_rate, std::int64_t steps) const {
    return forecast_.at(fault_rate, steps);
  }
  const configs::PolicyConfig& policy() const { return rules_.policy; }
  const std::optional<Calibration>& calibration() const { return calibration_; }
  // The largest amount of the curve.
  std::int64_t top() const { return envelope_.top(); }

 private:
  Constraint constraint_;
  PlanRules rules_;
  Envelope envelope_;
  Forecast forecast_;
  std::optional<Calibration> calibration_;
};

}  // namespace kintsugi::training::reduce

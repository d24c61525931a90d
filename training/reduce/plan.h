// Step 2 of Reduce: from a chip's own fault map to what is done with it. Pure decisions; files are in
// plan_file.h.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "training/reduce/calibration.h"
#include "training/reduce/constraint.h"
#include "training/reduce/resilience.h"
#include "training/repair/mapping.h"

namespace kintsugi::training::reduce {

// repair: the repaired network meets the constraint, so nothing is retrained.
enum class Verdict { ship, repair, retrain, reject };
std::string to_string(Verdict verdict);

// What predicts how much retraining a chip needs, beside its fault rate; taken where retraining starts.
struct Predictors {
  double mapped_fault_rate = 0;  // share of all weights that are pruned
  double pruned_saliency = 0;    // share of the original squared weights that is, averaged over layers
  double loss = 0;               // mean cross-entropy over the decision images
  friend bool operator==(const Predictors&, const Predictors&) = default;
};

// The arithmetic spent on a chip, in steps of retraining: multiply-adds / those of one SGD step (forward, and
// backward for data and weights, at the campaign's batch).
struct RepairSteps {
  double mapping = 0;
  double compensation = 0;
  double batch_norm = 0;
  double total() const { return mapping + compensation + batch_norm; }
  friend bool operator==(const RepairSteps&, const RepairSteps&) = default;
};

// What is known of a chip before retraining.
struct ChipFacts {
  std::string id;
  std::string fault_map;  // path relative to the campaign's folder
  std::string fault_map_sha256;
  std::int64_t faulty_pes = 0;
  double fault_rate = 0;  // faulty PEs / (rows · columns)
  std::int64_t assumed_maskable = 0;
  // PEs whose fault a bypass does not hide: test escapes, and faulty registers unless they are kept away
  // from.
  std::int64_t live_faults = 0;
  std::vector<std::pair<std::string, double>> mapped_fault_rate;  // by layer, in network order
  // Original weights, pruned by the bypass, on this chip; decision set. Absent: not measured.
  std::optional<Score> before;
  std::optional<Score> repaired;  // what retraining starts from, if the campaign repairs
  RepairSteps repair_steps;       // of that repair
  std::optional<Predictors> predictors = std::nullopt;
  // Of a chip with faults that its bypass does not hide, where the campaign keeps away from them.
  std::optional<repair::Dropped> dropped = std::nullopt;
};

// The value of a predictor for a chip. Throws common::InputError if it was not measured.
double predictor_value(const ChipFacts& facts, configs::Predictor predictor);

struct ChipPlan {
  ChipFacts facts;
  Verdict verdict = Verdict::retrain;
  std::int64_t planned_steps = 0;
  double planned_epochs = 0;
  std::string reason;
  // Accuracy on the decision images: measured, with its 95 % interval, of a chip that is shipped or repaired;
  // of one that is retrained, what characterised maps like it had after that amount: their mean, least and
  // greatest. Absent: rejected, or nothing to go by.
  std::optional<Interval> predicted = std::nullopt;
  bool calibrated = false;  // the guarantee was calibrated on this chip, among others
  // Its network is that of a group; verdict and amount are then what it was given by itself.
  std::optional<std::string> group = std::nullopt;
};

// Chips with one network, retrained once with all PEs pruned that any of them bypasses.
struct PlannedGroup {
  std::string id;
  std::vector<std::string> chips;  // in the plan's order, two at least
  std::int64_t bypassed_pes = 0;   // by any of them
  double fault_rate = 0;           // bypassed PEs / (rows · columns)
  std::int64_t planned_steps = 0;
  double planned_epochs = 0;
  double saving = 0;  // steps, repair and checks counted: its chips one by one − the group
  friend bool operator==(const PlannedGroup&, const PlannedGroup&) = default;
};

struct Plan {
  std::string network;
  std::string weights_sha256;
  std::string dataset;
  std::string decided_on;  // "decision" or "test" (leak_as_published)
  configs::ConstraintConfig constraint;
  configs::PolicyConfig policy;
  bool accuracy_check = true;       // false: no chip was measured before it was planned
  bool check_before_repair = true;  // false: chips were measured after repair only
  std::int64_t steps_per_epoch = 1;
  std::optional<Calibration> calibration;  // of policy quantile
  Score baseline;                          // original weights, fault-free chip; gained and lost are 0
  std::vector<ChipPlan> chips;
  std::optional<std::vector<PlannedGroup>> groups = std::nullopt;  // absent: grouping was not asked for
};

// What one policy decides by.
struct PlanRules {
  configs::PolicyConfig policy;
  std::vector<std::int64_t> evaluated;  // characterised amounts, ascending from 0
  std::int64_t steps_per_epoch = 1;
  const Calibration* calibration = nullptr;  // for policy quantile
  bool like_chips = false;                   // characterised on maps with such faults as the lot's chips have
  bool repairs = false;                      // chips are repaired before they are retrained
};

// Decides one chip. The amount comes from the envelope; quantile adds its bound, and adaptive starts at the
// next evaluated amount. Measured facts overrule it, under every policy alike so that policies stay
// comparable: a chip whose accuracy before retraining meets the constraint beyond doubt is shipped as it is,
// a repaired one that meets it is not rejected, and a chip that measurably misses the constraint is not
// shipped for a planned amount of 0 but retrained for the least evaluated amount (a fixed amount is obeyed as
// given). None applies to a chip that was not measured.
ChipPlan decide_chip(const ChipFacts& facts, const Envelope& envelope, const Constraint& constraint,
                     const PlanRules& rules);

// The interval of the accuracy itself that a score's judgement rests on.
Interval measured_accuracy(const Constraint& constraint, const Score& score);

}  // namespace kintsugi::training::reduce

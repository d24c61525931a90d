// Step 2 of Reduce: from a chip's own fault map to what is done with it. Pure decisions; files are in
// plan_file.h.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "training/reduce/constraint.h"
#include "training/reduce/resilience.h"

namespace kintsugi::training::reduce {

// repair: the repaired network meets the constraint, so nothing is retrained.
enum class Verdict { ship, repair, retrain, reject };
std::string to_string(Verdict verdict);

// What is known of a chip before retraining.
struct ChipFacts {
  std::string id;
  std::string fault_map;  // path relative to the campaign's folder
  std::string fault_map_sha256;
  std::int64_t faulty_pes = 0;
  double fault_rate = 0;  // faulty PEs / (rows · columns)
  std::int64_t assumed_maskable = 0;
  std::int64_t live_faults = 0;  // PEs whose fault a bypass does not hide: test escapes, faulty registers
  std::vector<std::pair<std::string, double>> mapped_fault_rate;  // by layer, in network order
  Score before;                   // original weights, pruned by the bypass, on this chip; decision set
  std::optional<Score> repaired;  // what retraining starts from, if the campaign repairs
  double repair_steps = 0;  // arithmetic of that repair, in steps of retraining
};

struct ChipPlan {
  ChipFacts facts;
  Verdict verdict = Verdict::retrain;
  std::int64_t planned_steps = 0;
  double planned_epochs = 0;
  std::string reason;
};

struct Plan {
  std::string network;
  std::string weights_sha256;
  std::string dataset;
  std::string decided_on;  // "decision" or "test" (leak_as_published)
  configs::ConstraintConfig constraint;
  configs::PolicyConfig policy;
  std::int64_t steps_per_epoch = 1;
  Score baseline;  // original weights, fault-free chip; gained and lost are 0
  std::vector<ChipPlan> chips;
};

// Decides one chip. The amount comes from the envelope. Two measured facts overrule it, under every policy
// alike so that policies stay comparable: a chip whose accuracy before retraining meets the constraint beyond
// doubt is shipped as it is, and a chip that measurably misses the constraint is not shipped for a planned
// amount of 0 but retrained for `least_steps` (a fixed amount is obeyed as given).
ChipPlan decide_chip(const ChipFacts& facts, const Envelope& envelope, const Constraint& constraint,
                     configs::PolicyName policy, std::int64_t least_steps, std::int64_t steps_per_epoch);

}  // namespace kintsugi::training::reduce

// Figure 3 of Reduce: what each way of choosing retraining amounts costs, and how many chips it saves.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "training/reduce/plan.h"

namespace kintsugi::training::reduce {

// One chip under one policy. `final` is what it reached on the set of the final figures (absent: rejected).
struct ChipResult {
  double fault_rate = 0;
  std::int64_t steps = 0;  // of retraining, all that were run
  std::optional<Score> final;
  // Other arithmetic spent on it, in steps of retraining.
  double repair_steps = 0;
  double check_steps = 0;  // accuracies on decision images
};

// Fault rates in (low, high]; both absent: all chips.
struct Stratum {
  std::optional<double> low;
  std::optional<double> high;
  bool contains(double fault_rate) const {
    return (!low || fault_rate > *low) && (!high || fault_rate <= *high);
  }
};

// A policy over the chips of one stratum.
struct PolicyLine {
  std::string policy;  // "max", "mean", "fixed 200"
  Stratum stratum;
  std::int64_t chips = 0;
  std::int64_t met = 0;  // estimate meets the constraint; rejected chips do not
  Interval met_share;    // Wilson, of all chips of the stratum
  std::int64_t pass = 0, undecided = 0, fail = 0, rejected = 0;
  std::int64_t total_steps = 0;
  double mean_steps = 0;  // over all chips
  double repair_steps = 0, check_steps = 0;
  // Retraining, repairs and checks.
  double arithmetic() const { return static_cast<double>(total_steps) + repair_steps + check_steps; }
  double mean_arithmetic() const { return chips > 0 ? arithmetic() / static_cast<double>(chips) : 0; }
  // Number of chips from which on characterisation has paid for itself against this (fixed) policy; absent:
  // never, or not a fixed policy.
  std::optional<std::int64_t> break_even_chips;
};

PolicyLine summarize_policy(const std::string& policy, const std::vector<ChipResult>& chips,
                            const Constraint& constraint, const Stratum& stratum = {});

// Least N with characterization + N · reduce_mean ≤ N · fixed_mean; absent if fixed is not dearer. All in
// steps of retraining, or all in their arithmetic.
std::optional<std::int64_t> break_even(double characterization, double reduce_mean, double fixed_mean);

// Cuts between the characterised rates: (0, r1], (r1, r2], …, (rn, 1]; those without any of `chip_rates` are
// left out. A fault-free chip counts with the lowest.
std::vector<Stratum> strata(const std::vector<double>& grid, const std::vector<double>& chip_rates);

// The fixed amounts to compare with when the user names none: a quarter, a half and all of `top`, rounded up,
// distinct and at least 1.
std::vector<std::int64_t> default_fixed_steps(std::int64_t top);

}  // namespace kintsugi::training::reduce

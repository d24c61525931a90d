// Step 1 of Reduce (Hanif and Shafique): how much retraining the network needs at each fault rate, and from
// that the amount for a chip of any rate.
//
// Amounts are mini-batch steps. The curve over fault rates is the monotone upper envelope of the measured
// points, linear between them and rounded up to whole steps: more faults never get less retraining because
// a few random maps happened to be kind.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "configs/campaign.h"

namespace kintsugi::training::reduce {

// One evaluated point of a retraining run.
struct Evaluated {
  std::int64_t steps = 0;
  bool met = false;  // the constraint, on the decision set
};

struct Needed {
  std::int64_t steps = 0;
  bool censored = false;  // never got there: steps is max_steps
};

// The least amount after which the constraint holds: at every later point too (sustained), or there for the
// first time (first_crossing). `points` ascend in steps, from 0 to max_steps.
Needed needed_amount(std::span<const Evaluated> points, configs::Amount amount, std::int64_t max_steps);

// All repeats at one fault rate.
struct RateResilience {
  double fault_rate = 0;
  std::int64_t min_steps = 0;
  double mean_steps = 0;  // censored repeats count as max_steps
  std::int64_t max_steps = 0;
  int censored = 0;
  int repeats = 0;

  bool hopeless() const { return censored == repeats; }
};

// `needed` must not be empty.
RateResilience summarize_rate(double fault_rate, std::span<const Needed> needed);

// The amount for a chip, or why there is none.
struct ChipAmount {
  std::optional<std::int64_t> steps;
  std::string reason;  // one clause, for plan.yaml
};

class Envelope {
 public:
  // `rates` ascend in fault_rate. max and mean choose the curve; `fixed` gives `fixed_steps` at every rate.
  Envelope(const std::vector<RateResilience>& rates, configs::PolicyConfig policy);

  // Above the grid, or where the next grid point above was hopeless, there is no amount: reject.
  ChipAmount at(double fault_rate) const;
  // The largest amount of the usable part of the curve (0 if there is none).
  std::int64_t top() const;

 private:
  struct Knot {
    double fault_rate;
    double steps;
    int censored;
    int repeats;
  };
  configs::PolicyConfig policy_;
  std::vector<Knot> knots_;  // usable ones: below the first hopeless rate
  std::optional<double> first_hopeless_;
};

}  // namespace kintsugi::training::reduce

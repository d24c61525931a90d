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

// What the points of a map are: of one retraining run that passes through every amount, or, from the second
// on, each the end of a run of its own.
enum class Runs { one, each_amount };

// The least amount after which the constraint holds: at every later point too (sustained), or there for the
// first time (first_crossing). `points` ascend in steps, from 0 to max_steps. With a run for each amount, 0
// steps are no part of any run: where the constraint holds there, nothing is needed, whatever retraining
// does.
Needed needed_amount(std::span<const Evaluated> points, configs::Amount amount, std::int64_t max_steps,
                     Runs runs);

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

// The least of the `evaluated` amounts (ascending) that is no less than `steps`; absent if the last one is
// less.
std::optional<std::int64_t> snap_up(std::int64_t steps, std::span<const std::int64_t> evaluated);

// "fault rate", "mapped fault rate", "pruned saliency", "loss": for messages and tables.
std::string to_string(configs::Predictor predictor);

// One characterised map: the predictor's value before retraining, and what it needed.
struct MapNeed {
  double value = 0;
  Needed needed;
};

// The amount for a chip, or why there is none.
struct ChipAmount {
  std::optional<std::int64_t> steps;
  std::string reason;  // one clause, for plan.yaml
};

// The curve from a predictor's value to an amount: `max` for policy max, the mean for policies mean, quantile
// and adaptive; `fixed` gives its amount everywhere.
class Envelope {
 public:
  // Over fault rates: the largest or mean amount of each rate, monotone upper envelope. `rates` ascend.
  Envelope(const std::vector<RateResilience>& rates, configs::PolicyConfig policy);
  // Over any predictor, map by map in any order: the running maximum, or isotonic regression. Where all maps
  // from some value on never met the constraint, that value takes the place of a hopeless rate.
  Envelope(std::vector<MapNeed> maps, configs::PolicyConfig policy);

  // Above the highest characterised value, or above the last usable one below hopeless ones, there is no
  // amount: reject.
  ChipAmount at(double value) const;
  // The largest amount of the usable part of the curve (0 if there is none).
  std::int64_t top() const;

 private:
  struct Knot {
    double value;
    double steps;
    int censored;
    int repeats;
  };
  configs::PolicyConfig policy_;
  std::vector<Knot> knots_;  // usable ones: below the first hopeless value
  std::optional<double> first_hopeless_;
};

}  // namespace kintsugi::training::reduce

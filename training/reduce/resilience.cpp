#include "training/reduce/resilience.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "common/text.h"
#include "training/reduce/statistics.h"

namespace kintsugi::training::reduce {
namespace {

std::int64_t round_up(double steps) {
  // Interpolation in floating point must not turn 200 into 201.
  return static_cast<std::int64_t>(std::ceil(steps - 1e-9 * std::max(1.0, steps)));
}

bool takes_max(const configs::PolicyConfig& policy) {
  return policy.name == configs::PolicyName::max;
}

}  // namespace

Needed needed_amount(std::span<const Evaluated> points, configs::Amount amount, std::int64_t max_steps,
                     Runs runs) {
  if (runs == Runs::each_amount && !points.empty() && points.front().steps == 0 && points.front().met)
    return {0, false};
  const Needed never{max_steps, true};
  Needed needed = never;
  for (const Evaluated& point : points) {
    if (!point.met && amount == configs::Amount::sustained) needed = never;
    if (point.met && needed.censored) needed = {point.steps, false};
  }
  return needed;
}

RateResilience summarize_rate(double fault_rate, std::span<const Needed> needed) {
  RateResilience rate{fault_rate, needed.front().steps,           0, needed.front().steps,
                      0,          static_cast<int>(needed.size())};
  double sum = 0;
  for (const Needed& n : needed) {
    rate.min_steps = std::min(rate.min_steps, n.steps);
    rate.max_steps = std::max(rate.max_steps, n.steps);
    rate.censored += n.censored ? 1 : 0;
    sum += static_cast<double>(n.steps);
  }
  rate.mean_steps = sum / static_cast<double>(needed.size());
  return rate;
}

std::optional<std::int64_t> snap_up(std::int64_t steps, std::span<const std::int64_t> evaluated) {
  const auto found = std::lower_bound(evaluated.begin(), evaluated.end(), steps);
  if (found == evaluated.end()) return std::nullopt;
  return *found;
}

std::string to_string(configs::Predictor predictor) {
  switch (predictor) {
    case configs::Predictor::fault_rate:
      return "fault rate";
    case configs::Predictor::mapped_fault_rate:
      return "mapped fault rate";
    case configs::Predictor::pruned_saliency:
      return "pruned saliency";
    case configs::Predictor::loss:
      return "loss";
  }
  return "";
}

Envelope::Envelope(const std::vector<RateResilience>& rates, configs::PolicyConfig policy) : policy_(policy) {
  double highest = 0;
  for (const RateResilience& rate : rates) {
    if (rate.hopeless()) {
      first_hopeless_ = rate.fault_rate;
      break;
    }
    const double steps = takes_max(policy_) ? static_cast<double>(rate.max_steps) : rate.mean_steps;
    highest = std::max(highest, steps);
    knots_.push_back({rate.fault_rate, highest, rate.censored, rate.repeats});
  }
}

Envelope::Envelope(std::vector<MapNeed> maps, configs::PolicyConfig policy) : policy_(policy) {
  std::sort(maps.begin(), maps.end(), [](const MapNeed& a, const MapNeed& b) { return a.value < b.value; });
  // Maps of one value make one knot.
  std::vector<double> weights;
  for (std::size_t i = 0; i < maps.size();) {
    Knot knot{maps[i].value, 0, 0, 0};
    double sum = 0, highest = 0;
    for (; i < maps.size() && maps[i].value == knot.value; ++i) {
      const auto steps = static_cast<double>(maps[i].needed.steps);
      sum += steps;
      highest = std::max(highest, steps);
      knot.censored += maps[i].needed.censored ? 1 : 0;
      ++knot.repeats;
    }
    knot.steps = takes_max(policy_) ? highest : sum / knot.repeats;
    knots_.push_back(knot);
  }
  while (!knots_.empty() && knots_.back().censored == knots_.back().repeats) {
    first_hopeless_ = knots_.back().value;
    knots_.pop_back();
  }
  if (takes_max(policy_)) {
    for (std::size_t i = 1; i < knots_.size(); ++i)
      knots_[i].steps = std::max(knots_[i].steps, knots_[i - 1].steps);
    return;
  }
  std::vector<double> steps;
  for (const Knot& knot : knots_) {
    steps.push_back(knot.steps);
    weights.push_back(knot.repeats);
  }
  const std::vector<double> ascending = isotonic(steps, weights);
  for (std::size_t i = 0; i < knots_.size(); ++i) knots_[i].steps = ascending[i];
}

ChipAmount Envelope::at(double value) const {
  using common::format_number;
  if (policy_.name == configs::PolicyName::fixed)
    return {policy_.steps, fmt::format("fixed amount of {} steps", policy_.steps)};

  const std::string what = to_string(policy_.predictor);
  const bool over_rates = policy_.predictor == configs::Predictor::fault_rate;
  const double last = knots_.empty() ? 0 : knots_.back().value;
  if (knots_.empty() || !(value <= last)) {
    if (first_hopeless_ && knots_.empty())
      return {
          std::nullopt,
          over_rates
              ? fmt::format(
                    "no retraining amount met the constraint at any characterised fault rate (lowest: {})",
                    format_number(*first_hopeless_))
              : "no retraining amount met the constraint on any characterised map"};
    if (first_hopeless_)
      return {std::nullopt,
              fmt::format("{} {} is above {}, and no {} met the constraint {} {}", what, format_number(value),
                          format_number(last), over_rates ? "repeat" : "map", over_rates ? "at" : "from",
                          format_number(*first_hopeless_)) +
                  (over_rates ? "" : " on")};
    return {std::nullopt,
            fmt::format("{} {} is above the highest characterised {}, {}", what, format_number(value),
                        over_rates ? "rate" : "one", format_number(last))};
  }

  const auto above = std::lower_bound(knots_.begin(), knots_.end(), value,
                                      [](const Knot& knot, double x) { return knot.value < x; });
  const std::string curve = takes_max(policy_) ? "max" : "mean";
  std::int64_t steps = 0;
  std::string reason;
  if (above == knots_.begin() || above->value == value) {
    steps = round_up(above->steps);
    reason = fmt::format("{} {} of resilience at {} {}", curve,
                         above->value == value ? "amount" : "amount (lowest point)", what,
                         format_number(above->value));
  } else {
    const Knot& below = *(above - 1);
    const double t = (value - below.value) / (above->value - below.value);
    steps = round_up(below.steps + t * (above->steps - below.steps));
    reason = fmt::format("{} amount of resilience between {}{} {} and {}", curve, what, over_rates ? "s" : "",
                         format_number(below.value), format_number(above->value));
  }
  if (above->censored > 0)
    reason += fmt::format("; {} of {} {} at {} never met the constraint", above->censored, above->repeats,
                          over_rates ? "repeats" : "maps", format_number(above->value));
  return {steps, reason};
}

std::int64_t Envelope::top() const {
  if (policy_.name == configs::PolicyName::fixed) return policy_.steps;
  return knots_.empty() ? 0 : round_up(knots_.back().steps);
}

}  // namespace kintsugi::training::reduce

#include "training/reduce/resilience.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "common/text.h"

namespace kintsugi::training::reduce {
namespace {

std::int64_t round_up(double steps) {
  // Interpolation in floating point must not turn 200 into 201.
  return static_cast<std::int64_t>(std::ceil(steps - 1e-9 * std::max(1.0, steps)));
}

std::string curve_name(configs::PolicyName name) {
  return name == configs::PolicyName::mean ? "mean" : "max";
}

}  // namespace

Needed needed_amount(std::span<const Evaluated> points, configs::Amount amount, std::int64_t max_steps) {
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

Envelope::Envelope(const std::vector<RateResilience>& rates, configs::PolicyConfig policy) : policy_(policy) {
  double highest = 0;
  for (const RateResilience& rate : rates) {
    if (rate.hopeless()) {
      first_hopeless_ = rate.fault_rate;
      break;
    }
    const double steps =
        policy_.name == configs::PolicyName::mean ? rate.mean_steps : static_cast<double>(rate.max_steps);
    highest = std::max(highest, steps);
    knots_.push_back({rate.fault_rate, highest, rate.censored, rate.repeats});
  }
}

ChipAmount Envelope::at(double fault_rate) const {
  using common::format_number;
  if (policy_.name == configs::PolicyName::fixed)
    return {policy_.steps, fmt::format("fixed amount of {} steps", policy_.steps)};

  const double last = knots_.empty() ? 0 : knots_.back().fault_rate;
  if (knots_.empty() || fault_rate > last) {
    if (first_hopeless_)
      return {
          std::nullopt,
          knots_.empty()
              ? fmt::format(
                    "no retraining amount met the constraint at any characterised fault rate (lowest: {})",
                    format_number(*first_hopeless_))
              : fmt::format("fault rate {} is above {}, and no repeat met the constraint at {}",
                            format_number(fault_rate), format_number(last), format_number(*first_hopeless_))};
    return {std::nullopt, fmt::format("fault rate {} is above the highest characterised rate, {}",
                                      format_number(fault_rate), format_number(last))};
  }

  const auto above = std::lower_bound(knots_.begin(), knots_.end(), fault_rate,
                                      [](const Knot& knot, double rate) { return knot.fault_rate < rate; });
  std::int64_t steps = 0;
  std::string reason;
  if (above == knots_.begin() || above->fault_rate == fault_rate) {
    steps = round_up(above->steps);
    reason = fmt::format("{} {} of resilience at fault rate {}", curve_name(policy_.name),
                         above->fault_rate == fault_rate ? "amount" : "amount (lowest point)",
                         format_number(above->fault_rate));
  } else {
    const Knot& below = *(above - 1);
    const double t = (fault_rate - below.fault_rate) / (above->fault_rate - below.fault_rate);
    steps = round_up(below.steps + t * (above->steps - below.steps));
    reason = fmt::format("{} amount of resilience between fault rates {} and {}", curve_name(policy_.name),
                         format_number(below.fault_rate), format_number(above->fault_rate));
  }
  if (above->censored > 0)
    reason += fmt::format("; {} of {} repeats at {} never met the constraint", above->censored,
                          above->repeats, format_number(above->fault_rate));
  return {steps, reason};
}

std::int64_t Envelope::top() const {
  if (policy_.name == configs::PolicyName::fixed) return policy_.steps;
  return knots_.empty() ? 0 : round_up(knots_.back().steps);
}

}  // namespace kintsugi::training::reduce

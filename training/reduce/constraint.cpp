#include "training/reduce/constraint.h"

#include <fmt/format.h>

#include "common/text.h"

namespace kintsugi::training::reduce {
namespace {

// Shares of images are multiples of 1/images; a limit written in decimals must not miss one by rounding.
constexpr double kTolerance = 1e-9;

}  // namespace

std::string to_string(Outcome outcome) {
  switch (outcome) {
    case Outcome::pass:
      return "pass";
    case Outcome::fail:
      return "fail";
    case Outcome::undecided:
      return "undecided";
    case Outcome::rejected:
      return "rejected";
  }
  return "";
}

Constraint::Constraint(const configs::ConstraintConfig& config)
    : is_drop_(!config.accuracy.has_value()),
      limit_(is_drop_ ? -config.accuracy_drop.value_or(0) : *config.accuracy) {}

Interval Constraint::measured(const Score& score) const {
  return is_drop_ ? score.change() : wilson(score.correct, score.images);
}

bool Constraint::met(const Score& score) const {
  return measured(score).estimate >= limit_ - kTolerance;
}

Outcome Constraint::judge(const Score& score) const {
  const Interval interval = measured(score);
  if (interval.low >= limit_ - kTolerance) return Outcome::pass;
  if (interval.high < limit_ - kTolerance) return Outcome::fail;
  return Outcome::undecided;
}

std::string Constraint::describe() const {
  return is_drop_ ? fmt::format("accuracy drop <= {}", common::format_number(-limit_))
                  : fmt::format("accuracy >= {}", common::format_number(limit_));
}

}  // namespace kintsugi::training::reduce

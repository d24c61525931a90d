// Policy `quantile`: how much has to be added to the curve's amount so that all but a few chips of the same
// population meet the constraint on the decision images, with a stated confidence (split-conformal,
// conformal.h).
//
// A calibration chip's score is the amount that it needed minus the one that the curve predicts for it, and
// infinite if no amount helped it. With the bound added and the sum rounded up to an evaluated amount, a chip
// whose score is within the bound gets an amount from which on it met the constraint at every evaluated
// amount. Chips that the curve rejects neither calibrate nor are promised anything: the guarantee is about
// the others.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "training/reduce/conformal.h"
#include "training/reduce/resilience.h"

namespace kintsugi::training::reduce {

// Which chips of a lot calibrate, ascending: `count` at random. `wafers` names each chip's wafer ("": not
// known); chips of one wafer resemble each other, so they calibrate together or not at all, and there may be
// more than `count`.
std::vector<std::size_t> choose_calibration(const std::vector<std::string>& wafers, std::size_t count,
                                            std::uint64_t seed);

struct CalibrationChip {
  std::optional<std::int64_t> predicted;  // the curve's amount; absent: such a chip is rejected
  Needed needed;                          // 0 steps if it is delivered without retraining
};

struct Calibration {
  Guarantee guarantee;
  std::string source;         // where the chips come from: "sampled" or "lot"
  std::int64_t chips = 0;     // that counted
  std::int64_t rejected = 0;  // by the curve: did not count
  std::int64_t never = 0;     // met the constraint at no amount; counted
  // Steps to add to the curve's amount (may be negative). Absent: too many chips met the constraint at no
  // amount, so nothing can be guaranteed.
  std::optional<std::int64_t> bound;
};

// Throws common::InputError if too few chips count for any bound at all.
Calibration calibrate(std::span<const CalibrationChip> chips, const Guarantee& guarantee,
                      const std::string& source);

// The amount for a chip for which the curve predicts `predicted` steps: one of the `evaluated` ones
// (ascending, from 0). At most the last, which helped every chip that any amount helped.
std::int64_t guaranteed_amount(std::int64_t predicted, const Calibration& calibration,
                               std::span<const std::int64_t> evaluated);

// One sentence: what is promised of which chips, or that nothing is and what to do about it.
std::string statement(const Calibration& calibration);

}  // namespace kintsugi::training::reduce

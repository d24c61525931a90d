#include "training/reduce/calibration.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <vector>

#include "common/diagnostics.h"
#include "common/random.h"
#include "common/text.h"

namespace kintsugi::training::reduce {
namespace {

std::string percent(double share) {
  return common::format_number(std::round(share * 1e6) / 1e4) + " %";
}

}  // namespace

std::vector<std::size_t> choose_calibration(const std::vector<std::string>& wafers, std::size_t count,
                                            std::uint64_t seed) {
  std::vector<std::vector<std::size_t>> groups;
  std::map<std::string, std::size_t> group_of;
  for (std::size_t chip = 0; chip < wafers.size(); ++chip) {
    const bool known = !wafers[chip].empty() && group_of.contains(wafers[chip]);
    if (!known) {
      if (!wafers[chip].empty()) group_of[wafers[chip]] = groups.size();
      groups.emplace_back();
    }
    groups[known ? group_of[wafers[chip]] : groups.size() - 1].push_back(chip);
  }
  common::RandomStream(seed, "calibration-chips").shuffle(std::span(groups));
  std::vector<std::size_t> chosen;
  for (const auto& group : groups) {
    if (chosen.size() >= count) break;
    chosen.insert(chosen.end(), group.begin(), group.end());
  }
  std::sort(chosen.begin(), chosen.end());
  return chosen;
}

Calibration calibrate(std::span<const CalibrationChip> chips, const Guarantee& guarantee,
                      const std::string& source) {
  Calibration result;
  result.guarantee = guarantee;
  result.source = source;
  std::vector<double> scores;
  for (const CalibrationChip& chip : chips) {
    if (!chip.predicted) {
      ++result.rejected;
      continue;
    }
    result.never += chip.needed.censored ? 1 : 0;
    scores.push_back(chip.needed.censored ? std::numeric_limits<double>::infinity()
                                          : static_cast<double>(chip.needed.steps - *chip.predicted));
  }
  result.chips = std::ssize(scores);
  const auto bound = conformal_bound(scores, guarantee);
  if (!bound)
    throw common::InputError(fmt::format(
        "{} calibration chips count ({} more lie where the curve rejects chips), and a guarantee for {} of "
        "the "
        "chips with confidence {} needs at least {}; raise 'calibrate.chips', or lower 'policy.coverage' or "
        "'policy.confidence'",
        result.chips, result.rejected, percent(guarantee.coverage), percent(guarantee.confidence),
        least_calibration(guarantee)));
  if (std::isfinite(*bound)) result.bound = std::llround(*bound);
  return result;
}

std::int64_t guaranteed_amount(std::int64_t predicted, const Calibration& calibration,
                               std::span<const std::int64_t> evaluated) {
  if (!calibration.bound) return evaluated.back();
  return snap_up(predicted + *calibration.bound, evaluated).value_or(evaluated.back());
}

std::string statement(const Calibration& calibration) {
  if (!calibration.bound)
    return fmt::format(
        "no guarantee: {} of {} calibration chips met the constraint at no characterised amount; "
        "characterise "
        "larger amounts, repair more, relax the constraint, or lower the coverage",
        calibration.never, calibration.chips);
  return fmt::format(
      "at least {} of the chips from {} that are not rejected meet the constraint on the decision images, "
      "with "
      "confidence {}",
      percent(calibration.guarantee.coverage),
      calibration.source == "lot" ? "the population of this lot" : "this fault population",
      percent(calibration.guarantee.confidence));
}

}  // namespace kintsugi::training::reduce

#include "training/reduce/comparison.h"

#include <algorithm>
#include <cmath>

namespace kintsugi::training::reduce {

PolicyLine summarize_policy(const std::string& policy, const std::vector<ChipResult>& chips,
                            const Constraint& constraint, const Stratum& stratum) {
  PolicyLine line;
  line.policy = policy;
  line.stratum = stratum;
  for (const ChipResult& chip : chips) {
    if (!stratum.contains(chip.fault_rate)) continue;
    ++line.chips;
    line.total_steps += chip.steps;
    line.repair_steps += chip.repair_steps;
    line.check_steps += chip.check_steps;
    if (!chip.final) {
      ++line.rejected;
      continue;
    }
    line.met += constraint.met(*chip.final) ? 1 : 0;
    switch (constraint.judge(*chip.final)) {
      case Outcome::pass:
        ++line.pass;
        break;
      case Outcome::fail:
        ++line.fail;
        break;
      default:
        ++line.undecided;
        break;
    }
  }
  line.met_share = wilson(line.met, line.chips);
  if (line.chips > 0)
    line.mean_steps = static_cast<double>(line.total_steps) / static_cast<double>(line.chips);
  return line;
}

std::optional<std::int64_t> break_even(double characterization, double reduce_mean, double fixed_mean) {
  const double saved = fixed_mean - reduce_mean;
  if (saved <= 0) return std::nullopt;
  return static_cast<std::int64_t>(std::ceil(characterization / saved - 1e-9));
}

std::vector<Stratum> strata(const std::vector<double>& grid, const std::vector<double>& chip_rates) {
  std::vector<Stratum> all;
  std::optional<double> low;
  for (const double rate : grid) {
    all.push_back({low, rate});
    low = rate;
  }
  all.push_back({low, std::nullopt});
  std::erase_if(all, [&](const Stratum& s) {
    return std::none_of(chip_rates.begin(), chip_rates.end(), [&](double rate) { return s.contains(rate); });
  });
  return all;
}

std::vector<std::int64_t> default_fixed_steps(std::int64_t top) {
  const std::int64_t whole = std::max<std::int64_t>(top, 1);
  std::vector<std::int64_t> steps;
  for (const std::int64_t amount : {(whole + 3) / 4, (whole + 1) / 2, whole})
    if (steps.empty() || amount > steps.back()) steps.push_back(amount);
  return steps;
}

}  // namespace kintsugi::training::reduce

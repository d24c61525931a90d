// The user's accuracy constraint, and what a measurement says about it.
//
// Accuracies are kept as counts of images, so that nothing is lost between files. A drop is absolute and
// against the same (original) weights in int8 on the fault-free chip over the same images; its interval is
// the paired one. An absolute accuracy has nothing to be paired with; its interval is Wilson's.
#pragma once

#include <cstdint>
#include <string>

#include "configs/campaign.h"
#include "training/reduce/statistics.h"

namespace kintsugi::training::reduce {

// One set of weights on one chip over one set of images, beside the baseline on the same images.
struct Score {
  std::int64_t images = 0;
  std::int64_t correct = 0;
  std::int64_t gained = 0;  // right here, wrong with the baseline
  std::int64_t lost = 0;    // wrong here, right with the baseline

  double accuracy() const {
    return images > 0 ? static_cast<double>(correct) / static_cast<double>(images) : 0;
  }
  // accuracy − baseline accuracy, paired.
  Interval change() const { return paired_difference(gained, lost, images); }
  friend bool operator==(const Score&, const Score&) = default;
};

enum class Outcome { pass, fail, undecided, rejected };
std::string to_string(Outcome outcome);

class Constraint {
 public:
  explicit Constraint(const configs::ConstraintConfig& config);

  // The estimate alone: what "meets the constraint" means in the papers and in characterisation.
  bool met(const Score& score) const;
  // pass: the whole interval meets it; fail: none of it does; undecided: the interval cannot tell.
  Outcome judge(const Score& score) const;
  // The interval of what is constrained: accuracy change or accuracy.
  Interval measured(const Score& score) const;
  // What `measured` must reach: −drop, or the accuracy.
  double limit() const { return limit_; }
  bool is_drop() const { return is_drop_; }
  // "accuracy drop ≤ 0.01" or "accuracy ≥ 0.91".
  std::string describe() const;

 private:
  bool is_drop_ = true;
  double limit_ = 0;
};

}  // namespace kintsugi::training::reduce

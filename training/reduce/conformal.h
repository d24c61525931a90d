// Distribution-free bounds from calibration chips (split-conformal prediction): how far predictions have to
// be moved so that all but a few chips of the same population are covered, with a stated confidence.
//
// With the k-th smallest of n independent scores as the bound, the share of the population within it is at
// least c with probability P(Binomial(n, c) ≤ k − 1), whatever the distribution (Wilks 1941; conditional
// coverage of split-conformal prediction, Vovk 2012). 95 % of chips with 95 % confidence need 59 chips.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

namespace kintsugi::training::reduce {

struct Guarantee {
  double coverage = 0.95;    // share of the chips, in (0, 1)
  double confidence = 0.95;  // that it is so, in (0, 1)
};

// Least k (1 … n) whose score is such a bound; absent if n is too small for any.
std::optional<std::int64_t> bound_rank(std::int64_t n, const Guarantee& guarantee);
// Least number of chips for which there is a bound at all.
std::int64_t least_calibration(const Guarantee& guarantee);
// The bound itself: the bound_rank-th smallest score. Infinite scores are allowed (a chip that no amount
// helps), and so is an infinite bound. Absent if there are too few.
std::optional<double> conformal_bound(std::span<const double> scores, const Guarantee& guarantee);

}  // namespace kintsugi::training::reduce

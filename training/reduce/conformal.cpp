#include "training/reduce/conformal.h"

#include <algorithm>
#include <boost/math/distributions/binomial.hpp>
#include <cmath>
#include <vector>

namespace kintsugi::training::reduce {

std::optional<std::int64_t> bound_rank(std::int64_t n, const Guarantee& guarantee) {
  if (n < 1) return std::nullopt;
  const boost::math::binomial_distribution<double> covered(static_cast<double>(n), guarantee.coverage);
  const auto holds = [&](std::int64_t k) {
    return boost::math::cdf(covered, static_cast<double>(k - 1)) >= guarantee.confidence;
  };
  if (!holds(n)) return std::nullopt;
  std::int64_t low = 0, high = n;  // not at low, at high
  while (high - low > 1) {
    const std::int64_t middle = (low + high) / 2;
    (holds(middle) ? high : low) = middle;
  }
  return high;
}

std::int64_t least_calibration(const Guarantee& guarantee) {
  // P(Binomial(n, c) ≤ n − 1) = 1 − cⁿ.
  auto n =
      static_cast<std::int64_t>(std::ceil(std::log(1 - guarantee.confidence) / std::log(guarantee.coverage)));
  n = std::max<std::int64_t>(1, n - 1);
  while (!bound_rank(n, guarantee)) ++n;
  return n;
}

std::optional<double> conformal_bound(std::span<const double> scores, const Guarantee& guarantee) {
  const auto rank = bound_rank(std::ssize(scores), guarantee);
  if (!rank) return std::nullopt;
  std::vector<double> sorted(scores.begin(), scores.end());
  std::nth_element(sorted.begin(), sorted.begin() + (*rank - 1), sorted.end());
  return sorted[static_cast<std::size_t>(*rank - 1)];
}

}  // namespace kintsugi::training::reduce

// Conformal bounds: ranks against sums of binomial probabilities, and what they promise against simulation.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "common/random.h"
#include "training/reduce/conformal.h"

namespace kintsugi::training::reduce {
namespace {

// P(Binomial(n, c) ≤ k − 1), term by term.
double probability(std::int64_t n, double c, std::int64_t k) {
  const auto all = static_cast<double>(n);
  double sum = 0;
  for (std::int64_t i = 0; i < k; ++i) {
    const auto covered = static_cast<double>(i);
    sum += std::exp(std::lgamma(all + 1) - std::lgamma(covered + 1) - std::lgamma(all - covered + 1) +
                    covered * std::log(c) + (all - covered) * std::log(1 - c));
  }
  return sum;
}

TEST(Conformal, RanksAreTheLeastThatKeepThePromise) {
  for (const double coverage : {0.5, 0.9, 0.95, 0.99})
    for (const double confidence : {0.5, 0.9, 0.95})
      for (const std::int64_t n : {1, 5, 22, 58, 59, 60, 93, 200, 500}) {
        const auto rank = bound_rank(n, {coverage, confidence});
        if (!rank) {
          EXPECT_LT(probability(n, coverage, n), confidence);
          continue;
        }
        EXPECT_GE(probability(n, coverage, *rank), confidence - 1e-9);
        if (*rank > 1) {
          EXPECT_LT(probability(n, coverage, *rank - 1), confidence + 1e-9);
        }
      }
}

TEST(Conformal, NinetyFiveOfAHundredNeedFiftyNineChips) {
  EXPECT_EQ(least_calibration({0.95, 0.95}), 59);
  EXPECT_EQ(bound_rank(59, {0.95, 0.95}), 59);
  EXPECT_EQ(bound_rank(58, {0.95, 0.95}), std::nullopt);
  EXPECT_EQ(bound_rank(93, {0.95, 0.95}), 92);  // one chip may be worse from 93 on
  EXPECT_EQ(least_calibration({0.9, 0.9}), 22);
}

TEST(Conformal, InfiniteScoresAreScores) {
  std::vector<double> scores(59, 1.0);
  EXPECT_EQ(conformal_bound(scores, {}), 1.0);
  scores[7] = std::numeric_limits<double>::infinity();
  EXPECT_EQ(conformal_bound(scores, {}), std::numeric_limits<double>::infinity());
  scores.pop_back();
  EXPECT_EQ(conformal_bound(scores, {}), std::nullopt);
}

TEST(Conformal, TooLowACoverageIsAsRareAsPromised) {
  // Uniform scores: the share of the population within a bound is the bound itself.
  common::RandomStream random(4, "test-conformal");
  for (const std::int64_t n : {59, 150}) {
    const Guarantee guarantee;
    int broken = 0;
    constexpr int kTrials = 4000;
    for (int trial = 0; trial < kTrials; ++trial) {
      std::vector<double> scores(static_cast<std::size_t>(n));
      for (double& score : scores) score = random.uniform(0, 1);
      if (*conformal_bound(scores, guarantee) < guarantee.coverage) ++broken;
    }
    // 5 % at most, three standard deviations of 4000 trials allowed.
    EXPECT_LT(broken, kTrials * 0.05 + 3 * std::sqrt(kTrials * 0.05 * 0.95));
    EXPECT_GT(broken, 0);  // and it is a bound that can be broken
  }
}

}  // namespace
}  // namespace kintsugi::training::reduce

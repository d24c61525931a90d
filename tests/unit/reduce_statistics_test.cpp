// Intervals against published values, and the constraint's three answers.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "training/reduce/constraint.h"
#include "training/reduce/statistics.h"

namespace kintsugi::training::reduce {
namespace {

// Newcombe, Statistics in Medicine 17 (1998) 857, table I: the score method without continuity correction.
TEST(Wilson, ReproducesNewcombesTable) {
  const struct {
    int hits, trials;
    double low, high;
  } cases[] = {
      {81, 263, 0.2553, 0.3662}, {15, 148, 0.0624, 0.1605}, {0, 20, 0, 0.1611}, {1, 29, 0.0061, 0.1718}};
  for (const auto& c : cases) {
    const Interval interval = wilson(c.hits, c.trials);
    EXPECT_NEAR(interval.low, c.low, 5e-5) << c.hits << "/" << c.trials;
    EXPECT_NEAR(interval.high, c.high, 5e-5) << c.hits << "/" << c.trials;
    EXPECT_DOUBLE_EQ(interval.estimate, static_cast<double>(c.hits) / c.trials);
  }
}

TEST(Wilson, ReachesItsEndsExactly) {
  EXPECT_EQ(wilson(0, 10).low, 0);
  EXPECT_EQ(wilson(10, 10).high, 1);
  EXPECT_GT(wilson(10, 10).low, 0.7);
  EXPECT_EQ(wilson(0, 0).low, 0);
  EXPECT_EQ(wilson(0, 0).high, 1);
}

// Fagerland, Lydersen and Laake, Statistics in Medicine 33 (2014) 2850: airway data, n12 = 1, n21 = 7, n
// = 21.
TEST(PairedDifference, ReproducesTheAirwayExample) {
  const Interval interval = paired_difference(1, 7, 21);
  EXPECT_NEAR(interval.estimate, -0.286, 5e-4);
  EXPECT_NEAR(interval.low, -0.508, 5e-4);
  EXPECT_NEAR(interval.high, -0.013, 5e-4);
}

// 10,000 images at about 89 %: unpaired the interval is ±0.6 points or wider; paired, with 200 images that
// differ, it is ±0.28. By hand: up = 81/10002, down = 121/10002, half = 1.95996·sqrt((0.020196 −
// 0.000016)/10002).
TEST(PairedDifference, IsNarrowWhereFewImagesDiffer) {
  const Interval interval = paired_difference(80, 120, 10000);
  EXPECT_DOUBLE_EQ(interval.estimate, -0.004);
  EXPECT_NEAR(interval.high - interval.low, 2 * 0.002784, 2e-6);
}

TEST(PairedDifference, IsSymmetric) {
  const Interval a = paired_difference(30, 50, 1000);
  const Interval b = paired_difference(50, 30, 1000);
  EXPECT_DOUBLE_EQ(a.low, -b.high);
  EXPECT_DOUBLE_EQ(a.high, -b.low);
}

Score drop_of(std::int64_t images, std::int64_t gained, std::int64_t lost) {
  const std::int64_t baseline = images * 9 / 10;
  return {images, baseline + gained - lost, gained, lost};
}

TEST(Constraint, DropHasThreeAnswers) {
  configs::ConstraintConfig config;
  config.accuracy_drop = 0.01;
  const Constraint constraint(config);
  EXPECT_EQ(constraint.judge(drop_of(10000, 100, 110)), Outcome::pass);       // −0.1 points ± 0.3
  EXPECT_EQ(constraint.judge(drop_of(10000, 100, 190)), Outcome::undecided);  // −0.9 ± 0.3
  EXPECT_TRUE(constraint.met(drop_of(10000, 100, 190)));
  EXPECT_EQ(constraint.judge(drop_of(10000, 100, 210)), Outcome::undecided);  // −1.1 ± 0.3
  EXPECT_FALSE(constraint.met(drop_of(10000, 100, 210)));
  EXPECT_EQ(constraint.judge(drop_of(10000, 100, 300)), Outcome::fail);  // −2.0 ± 0.4
}

TEST(Constraint, ExactLimitIsMet) {
  configs::ConstraintConfig config;
  for (int lost = 1; lost < 100; ++lost) {  // 0.03·1000 and the like must not miss by rounding
    config.accuracy_drop = lost / 1000.0;
    EXPECT_TRUE(Constraint(config).met(drop_of(1000, 0, lost))) << lost;
    EXPECT_FALSE(Constraint(config).met(drop_of(1000, 0, lost + 1))) << lost;
  }
}

TEST(Constraint, AbsoluteAccuracyIsJudgedByWilson) {
  configs::ConstraintConfig config;
  config.accuracy = 0.9;
  const Constraint constraint(config);
  // Wilson for 9,000 of 10,000 is 0.8940 … 0.9057.
  EXPECT_EQ(constraint.judge({10000, 9000, 0, 0}), Outcome::undecided);
  EXPECT_TRUE(constraint.met({10000, 9000, 0, 0}));
  EXPECT_EQ(constraint.judge({10000, 9070, 0, 0}), Outcome::pass);
  EXPECT_EQ(constraint.judge({10000, 8930, 0, 0}), Outcome::fail);
}

}  // namespace
}  // namespace kintsugi::training::reduce

// Amounts, envelope and verdicts of Reduce on numbers small enough to check by hand.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "training/reduce/comparison.h"
#include "training/reduce/plan.h"
#include "training/reduce/resilience.h"

namespace kintsugi::training::reduce {
namespace {

using configs::Amount;
using configs::PolicyName;
using testing::HasSubstr;

std::vector<Evaluated> run(std::initializer_list<bool> met) {  // every 10 steps, from 0
  std::vector<Evaluated> points;
  for (const bool m : met) points.push_back({static_cast<std::int64_t>(points.size()) * 10, m});
  return points;
}

TEST(NeededAmount, SustainedCountsFromTheLastMiss) {
  const auto points = run({false, true, false, true, true});
  EXPECT_EQ(needed_amount(points, Amount::sustained, 40, Runs::one).steps, 30);
  EXPECT_EQ(needed_amount(points, Amount::first_crossing, 40, Runs::one).steps, 10);
  EXPECT_FALSE(needed_amount(points, Amount::sustained, 40, Runs::one).censored);
}

TEST(NeededAmount, LastPointAloneCountsAndIsNotCensored) {
  const Needed needed = needed_amount(run({false, false, true}), Amount::sustained, 20, Runs::one);
  EXPECT_EQ(needed.steps, 20);
  EXPECT_FALSE(needed.censored);
}

TEST(NeededAmount, NeverThereIsCensoredAtTheMaximum) {
  for (const Amount amount : {Amount::sustained, Amount::first_crossing}) {
    const Needed needed = needed_amount(run({false, false, false}), amount, 20, Runs::one);
    EXPECT_EQ(needed.steps, 20);
    EXPECT_TRUE(needed.censored);
  }
  // There once, lost again at the end: only the optimistic reading accepts it.
  EXPECT_TRUE(needed_amount(run({true, true, false}), Amount::sustained, 20, Runs::one).censored);
  EXPECT_EQ(needed_amount(run({true, true, false}), Amount::first_crossing, 20, Runs::one).steps, 0);
}

// Nothing was retrained at 0 steps: that retraining harms says nothing against leaving it.
TEST(NeededAmount, ZeroStepsStandAloneWhereEachAmountIsARunOfItsOwn) {
  for (const Amount amount : {Amount::sustained, Amount::first_crossing}) {
    const Needed needed = needed_amount(run({true, false, false}), amount, 20, Runs::each_amount);
    EXPECT_EQ(needed.steps, 0);
    EXPECT_FALSE(needed.censored);
  }
  // Among amounts that do retrain, sustained is as strict as ever.
  EXPECT_EQ(needed_amount(run({false, true, false, true}), Amount::sustained, 30, Runs::each_amount).steps,
            30);
  EXPECT_TRUE(needed_amount(run({false, true, false}), Amount::sustained, 20, Runs::each_amount).censored);
  EXPECT_EQ(needed_amount({}, Amount::sustained, 20, Runs::each_amount).steps, 20);
}

TEST(SummarizeRate, CountsCensoredRepeatsAsTheMaximum) {
  const Needed needed[] = {{10, false}, {40, true}, {25, false}};
  const RateResilience rate = summarize_rate(0.1, needed);
  EXPECT_EQ(rate.min_steps, 10);
  EXPECT_DOUBLE_EQ(rate.mean_steps, 25);
  EXPECT_EQ(rate.max_steps, 40);
  EXPECT_EQ(rate.censored, 1);
  EXPECT_FALSE(rate.hopeless());
}

RateResilience rate(double r, std::int64_t low, double mean, std::int64_t high, int censored = 0) {
  return {r, low, mean, high, censored, 5};
}

configs::PolicyConfig policy(PolicyName name, std::int64_t steps = 0) {
  return {name, steps};
}

TEST(Envelope, InterpolatesAndRoundsUp) {
  const Envelope envelope({rate(0.1, 0, 10, 20), rate(0.2, 10, 30.5, 51)}, policy(PolicyName::max));
  EXPECT_EQ(envelope.at(0.1).steps, 20);
  EXPECT_EQ(envelope.at(0.2).steps, 51);
  EXPECT_EQ(envelope.at(0.15).steps, 36);  // 35.5
  EXPECT_EQ(envelope.at(0.11).steps, 24);  // 23.1
  EXPECT_EQ(envelope.at(0.05).steps, 20);  // below the grid: the lowest point's
  EXPECT_EQ(envelope.at(0).steps, 20);
  EXPECT_EQ(envelope.top(), 51);
  EXPECT_FALSE(envelope.at(0.2001).steps.has_value());
  EXPECT_THAT(envelope.at(0.21).reason, HasSubstr("above the highest characterised rate, 0.2"));
}

TEST(Envelope, WholeAmountsStayWhole) {
  // 0 + (0.3 − 0.1)/(0.6 − 0.1)·500 is 200 on paper and 199.99… or 200.00…1 in floating point.
  const Envelope envelope({rate(0.1, 0, 0, 0), rate(0.6, 0, 0, 500)}, policy(PolicyName::max));
  EXPECT_EQ(envelope.at(0.3).steps, 200);
  for (int i = 1; i < 50; ++i) EXPECT_EQ(envelope.at(0.1 + 0.01 * i).steps, 10 * i) << i;
}

TEST(Envelope, IsMonotone) {
  const Envelope envelope({rate(0.1, 0, 10, 60), rate(0.2, 0, 10, 40), rate(0.3, 0, 10, 80)},
                          policy(PolicyName::max));
  EXPECT_EQ(envelope.at(0.15).steps, 60);
  EXPECT_EQ(envelope.at(0.2).steps, 60);
  EXPECT_EQ(envelope.at(0.25).steps, 70);
}

TEST(Envelope, MeanAndFixed) {
  const std::vector<RateResilience> rates{rate(0.1, 0, 10.2, 20), rate(0.2, 10, 30.5, 51)};
  EXPECT_EQ(Envelope(rates, policy(PolicyName::mean)).at(0.1).steps, 11);
  EXPECT_EQ(Envelope(rates, policy(PolicyName::mean)).at(0.15).steps, 21);  // 20.35
  const Envelope fixed(rates, policy(PolicyName::fixed, 7));
  EXPECT_EQ(fixed.at(0.15).steps, 7);
  EXPECT_EQ(fixed.at(0.9).steps, 7);  // a fixed policy knows no rates
}

TEST(Envelope, AllCensoredRateRejectsItsChipsAndAllAbove) {
  const Envelope envelope({rate(0.1, 5, 10, 20), rate(0.2, 100, 100, 100, 5), rate(0.3, 50, 50, 50)},
                          policy(PolicyName::max));
  EXPECT_EQ(envelope.at(0.1).steps, 20);
  EXPECT_FALSE(envelope.at(0.11).steps.has_value());
  EXPECT_FALSE(envelope.at(0.3).steps.has_value());
  EXPECT_THAT(envelope.at(0.15).reason, HasSubstr("no repeat met the constraint at 0.2"));
  EXPECT_EQ(envelope.top(), 20);
}

TEST(Envelope, PartlyCensoredRateIsUsedAndSaysSo) {
  const Envelope envelope({rate(0.1, 5, 40, 100, 2)}, policy(PolicyName::max));
  EXPECT_EQ(envelope.at(0.1).steps, 100);
  EXPECT_THAT(envelope.at(0.1).reason, HasSubstr("2 of 5 repeats at 0.1 never met"));
}

TEST(Envelope, NothingUsableRejectsEverything) {
  const Envelope envelope({rate(0.1, 100, 100, 100, 5)}, policy(PolicyName::max));
  EXPECT_FALSE(envelope.at(0.01).steps.has_value());
  EXPECT_EQ(envelope.top(), 0);
}

ChipFacts chip(double fault_rate, std::int64_t gained, std::int64_t lost) {
  ChipFacts facts;
  facts.id = "a";
  facts.fault_rate = fault_rate;
  facts.before = Score{5000, 4500 + gained - lost, gained, lost};
  return facts;
}

ChipPlan decide(const ChipFacts& facts, const Envelope& envelope, PolicyName name = PolicyName::max) {
  configs::ConstraintConfig config;
  config.accuracy_drop = 0.01;
  return decide_chip(facts, envelope, Constraint(config), {policy(name), {0, 25, 50, 75, 100}, 40});
}

TEST(DecideChip, ShipsRetrainsRejects) {
  const Envelope envelope({rate(0.1, 0, 10, 20), rate(0.2, 10, 30, 60)}, policy(PolicyName::max));
  const ChipPlan ship = decide(chip(0.15, 5, 6), envelope);
  EXPECT_EQ(ship.verdict, Verdict::ship);
  EXPECT_EQ(ship.planned_steps, 0);
  const ChipPlan retrain = decide(chip(0.15, 5, 200), envelope);
  EXPECT_EQ(retrain.verdict, Verdict::retrain);
  EXPECT_EQ(retrain.planned_steps, 40);
  EXPECT_DOUBLE_EQ(retrain.planned_epochs, 1);
  // Meets the constraint by estimate (−0.9 points) but not beyond doubt: the rate's amount.
  EXPECT_EQ(decide(chip(0.1, 55, 100), envelope).planned_steps, 20);
  const ChipPlan reject = decide(chip(0.25, 5, 400), envelope);
  EXPECT_EQ(reject.verdict, Verdict::reject);
  EXPECT_EQ(reject.planned_steps, 0);
}

TEST(DecideChip, ZeroStepsShipOnlyWhatMeetsTheConstraint) {
  const Envelope envelope({rate(0.1, 0, 0, 0)}, policy(PolicyName::max));
  EXPECT_EQ(decide(chip(0.1, 55, 100), envelope).verdict, Verdict::ship);
  const ChipPlan missed = decide(chip(0.1, 55, 110), envelope);
  EXPECT_EQ(missed.verdict, Verdict::retrain);
  EXPECT_EQ(missed.planned_steps, 25);
  const Envelope fixed({rate(0.1, 0, 0, 0)}, policy(PolicyName::fixed, 0));
  EXPECT_EQ(decide(chip(0.1, 55, 110), fixed, PolicyName::fixed).verdict, Verdict::ship);
}

TEST(DecideChip, RejectsNoRepairedChipThatMeetsTheConstraint) {
  const Envelope envelope({rate(0.1, 0, 10, 20)}, policy(PolicyName::max));
  ChipFacts facts = chip(0.25, 5, 400);
  facts.repaired = Score{5000, 4455, 55, 100};  // −0.9 points: by the estimate, not beyond the interval
  EXPECT_EQ(decide(facts, envelope).verdict, Verdict::repair);
  facts.repaired = Score{5000, 4445, 55, 110};
  EXPECT_EQ(decide(facts, envelope).verdict, Verdict::reject);
}

TEST(DecideChip, PlansFromTheCurveAloneWhatWasNotMeasured) {
  const Envelope envelope({rate(0.1, 0, 0, 0), rate(0.2, 10, 30, 60)}, policy(PolicyName::max));
  const auto unmeasured = [](double fault_rate) {
    ChipFacts facts;
    facts.id = "a";
    facts.fault_rate = fault_rate;
    return facts;
  };
  EXPECT_EQ(decide(unmeasured(0.15), envelope).verdict, Verdict::retrain);
  EXPECT_EQ(decide(unmeasured(0.15), envelope).planned_steps, 30);
  EXPECT_EQ(decide(unmeasured(0.05), envelope).verdict, Verdict::ship);
  EXPECT_EQ(decide(unmeasured(0.25), envelope).verdict, Verdict::reject);
}

TEST(DecideChip, SaysThatTheAmountIsAGuessForLiveFaults) {
  const Envelope envelope({rate(0.1, 0, 10, 20)}, policy(PolicyName::max));
  ChipFacts facts = chip(0.1, 5, 200);
  facts.live_faults = 3;
  EXPECT_THAT(decide(facts, envelope).reason, HasSubstr("3 faulty PEs act in spite of the bypass"));
}

Score final_score(std::int64_t lost) {
  return {10000, 9000 - lost, 0, lost};
}

TEST(Compare, CountsChipsAndSteps) {
  configs::ConstraintConfig config;
  config.accuracy_drop = 0.01;
  const Constraint constraint(config);
  const std::vector<ChipResult> chips{{0.05, 0, final_score(10)},    // pass
                                      {0.15, 40, final_score(95)},   // met, undecided
                                      {0.15, 60, final_score(105)},  // missed, undecided
                                      {0.2, 60, final_score(300)},   // fail
                                      {0.5, 0, std::nullopt}};       // rejected
  const PolicyLine all = summarize_policy("max", chips, constraint);
  EXPECT_EQ(all.chips, 5);
  EXPECT_EQ(all.met, 2);
  EXPECT_EQ(all.pass, 1);
  EXPECT_EQ(all.undecided, 2);
  EXPECT_EQ(all.fail, 1);
  EXPECT_EQ(all.rejected, 1);
  EXPECT_EQ(all.total_steps, 160);
  EXPECT_DOUBLE_EQ(all.mean_steps, 32);
  EXPECT_NEAR(all.met_share.low, 0.1176, 5e-5);  // Wilson 2/5
  EXPECT_NEAR(all.met_share.high, 0.7693, 5e-5);
  const PolicyLine middle = summarize_policy("max", chips, constraint, {0.1, 0.2});
  EXPECT_EQ(middle.chips, 3);
  EXPECT_EQ(middle.met, 1);
}

TEST(Compare, BreakEven) {
  EXPECT_EQ(break_even(1000, 30, 50), 50);
  EXPECT_EQ(break_even(1001, 30, 50), 51);
  EXPECT_EQ(break_even(1000, 50, 50), std::nullopt);
  EXPECT_EQ(break_even(1000, 60, 50), std::nullopt);
}

TEST(Compare, StrataHoldEveryChipOnce) {
  const std::vector<double> rates{0, 0.1, 0.15, 0.2, 0.9};
  const auto all = strata({0.1, 0.2, 0.3}, rates);
  ASSERT_EQ(all.size(), 3u);  // nothing between 0.2 and 0.3
  for (const double r : rates) {
    int holding = 0;
    for (const Stratum& s : all) holding += s.contains(r) ? 1 : 0;
    EXPECT_EQ(holding, 1) << r;
  }
}

TEST(Compare, DefaultFixedAmounts) {
  EXPECT_EQ(default_fixed_steps(400), (std::vector<std::int64_t>{100, 200, 400}));
  EXPECT_EQ(default_fixed_steps(51), (std::vector<std::int64_t>{13, 26, 51}));
  EXPECT_EQ(default_fixed_steps(0), (std::vector<std::int64_t>{1}));
}

}  // namespace
}  // namespace kintsugi::training::reduce

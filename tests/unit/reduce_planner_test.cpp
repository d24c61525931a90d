// Policies over predictors, calibration, extension and forecasts, on numbers small enough to check by hand.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <map>
#include <set>

#include "common/random.h"
#include "tests/support/input_error.h"
#include "training/reduce/adaptive.h"
#include "training/reduce/planner.h"
#include "training/reduce/predictors.h"
#include "workloads/network.h"

namespace kintsugi::training::reduce {
namespace {

using configs::PolicyName;
using configs::Predictor;
using testing::HasSubstr;

const std::vector<std::int64_t> kAmounts{0, 50, 100, 200, 400};

Constraint one_point() {
  configs::ConstraintConfig config;
  config.accuracy_drop = 0.01;
  return Constraint(config);
}

// Against a baseline of 90 % on 10,000 images; the interval is about ±0.2 points.
Score score(std::int64_t lost) {
  return {10000, 9000 - lost, 0, lost};
}

configs::PolicyConfig policy(PolicyName name, Predictor predictor = Predictor::fault_rate) {
  configs::PolicyConfig config;
  config.name = name;
  config.predictor = predictor;
  return config;
}

TEST(SnapUp, TakesTheNextEvaluatedAmount) {
  EXPECT_EQ(snap_up(-30, kAmounts), 0);
  EXPECT_EQ(snap_up(0, kAmounts), 0);
  EXPECT_EQ(snap_up(1, kAmounts), 50);
  EXPECT_EQ(snap_up(200, kAmounts), 200);
  EXPECT_EQ(snap_up(201, kAmounts), 400);
  EXPECT_EQ(snap_up(401, kAmounts), std::nullopt);
}

TEST(Isotonic, IsTheMinMaxOfBlockMeans) {
  common::RandomStream random(3, "test-isotonic");
  for (int trial = 0; trial < 200; ++trial) {
    const std::size_t n = 1 + random.below(12);
    std::vector<double> values, weights;
    for (std::size_t i = 0; i < n; ++i) {
      values.push_back(static_cast<double>(random.below(8)));
      weights.push_back(1 + static_cast<double>(random.below(3)));
    }
    const std::vector<double> fitted = isotonic(values, weights);
    ASSERT_EQ(fitted.size(), n);
    for (std::size_t i = 0; i < n; ++i) {
      // max over starts of the min over ends of the weighted mean between them
      double best = -1e9;
      for (std::size_t from = 0; from <= i; ++from) {
        double least = 1e9;
        for (std::size_t to = i; to < n; ++to) {
          double sum = 0, weight = 0;
          for (std::size_t k = from; k <= to; ++k) {
            sum += values[k] * weights[k];
            weight += weights[k];
          }
          least = std::min(least, sum / weight);
        }
        best = std::max(best, least);
      }
      EXPECT_NEAR(fitted[i], best, 1e-12);
    }
  }
}

TEST(PredictorEnvelope, RunningMaximumAndIsotonicMean) {
  const std::vector<MapNeed> maps{
      {0.3, {80, false}}, {0.1, {40, false}}, {0.2, {20, false}}, {0.4, {60, false}}};
  const Envelope max(maps, policy(PolicyName::max, Predictor::loss));
  EXPECT_EQ(max.at(0.1).steps, 40);
  EXPECT_EQ(max.at(0.2).steps, 40);
  EXPECT_EQ(max.at(0.25).steps, 60);
  EXPECT_EQ(max.at(0.4).steps, 80);
  EXPECT_EQ(max.at(0.01).steps, 40);  // below: the lowest one's
  EXPECT_FALSE(max.at(0.41).steps.has_value());
  EXPECT_THAT(max.at(0.41).reason, HasSubstr("loss 0.41 is above the highest characterised one, 0.4"));
  const Envelope mean(maps, policy(PolicyName::mean, Predictor::loss));
  EXPECT_EQ(mean.at(0.1).steps, 30);  // 40 and 20 pooled
  EXPECT_EQ(mean.at(0.2).steps, 30);
  EXPECT_EQ(mean.at(0.25).steps, 50);
  EXPECT_EQ(mean.at(0.3).steps, 70);  // 80 and 60 pooled
  EXPECT_EQ(mean.top(), 70);
}

TEST(PredictorEnvelope, MapsOfOneValueAreOneAndHopelessEndsReject) {
  const Envelope mean({{0.1, {10, false}},
                       {0.1, {30, false}},
                       {0.2, {400, true}},
                       {0.2, {50, false}},
                       {0.3, {400, true}},
                       {0.4, {400, true}}},
                      policy(PolicyName::mean, Predictor::pruned_saliency));
  EXPECT_EQ(mean.at(0.1).steps, 20);
  EXPECT_EQ(mean.at(0.2).steps, 225);
  EXPECT_THAT(mean.at(0.2).reason, HasSubstr("1 of 2 maps at 0.2 never met the constraint"));
  EXPECT_FALSE(mean.at(0.21).steps.has_value());
  EXPECT_THAT(mean.at(0.35).reason,
              HasSubstr("pruned saliency 0.35 is above 0.2, and no map met the constraint from 0.3 on"));
  const Envelope none({{0.1, {400, true}}}, policy(PolicyName::max, Predictor::loss));
  EXPECT_FALSE(none.at(0.05).steps.has_value());
}

std::vector<CalibrationChip> sixty(std::int64_t last_needs) {
  std::vector<CalibrationChip> chips(60, CalibrationChip{100, {100, false}});
  chips.back().needed = {last_needs, last_needs > 400};
  return chips;
}

TEST(Calibrate, SixtyChipsAllowNoWorse) {
  // 95/95 of 60 chips: the largest score is the bound.
  const Calibration calibration = calibrate(sixty(200), {}, "sampled");
  EXPECT_EQ(calibration.bound, 100);
  EXPECT_EQ(calibration.chips, 60);
  EXPECT_EQ(guaranteed_amount(100, calibration, kAmounts), 200);
  EXPECT_EQ(guaranteed_amount(20, calibration, kAmounts), 200);   // 120, rounded up
  EXPECT_EQ(guaranteed_amount(350, calibration, kAmounts), 400);  // never more than any chip needs
  EXPECT_THAT(
      statement(calibration),
      HasSubstr("at least 95 % of the chips from this fault population that are not rejected meet the "
                "constraint on the decision images, with confidence 95 %"));
  EXPECT_EQ(calibrate(sixty(50), {}, "lot").bound, 0);
  std::vector<CalibrationChip> easy(60, CalibrationChip{200, {50, false}});
  EXPECT_EQ(calibrate(easy, {}, "lot").bound, -150);
  EXPECT_EQ(guaranteed_amount(100, calibrate(easy, {}, "lot"), kAmounts), 0);
}

TEST(Calibrate, ChipsThatNothingHelpsLeaveNoGuarantee) {
  const Calibration none = calibrate(sixty(500), {}, "sampled");
  EXPECT_EQ(none.bound, std::nullopt);
  EXPECT_EQ(none.never, 1);
  EXPECT_EQ(guaranteed_amount(0, none, kAmounts), 400);
  EXPECT_THAT(statement(none), HasSubstr("no guarantee: 1 of 60 calibration chips met the constraint at no"));
  // 93 chips allow one of them.
  std::vector<CalibrationChip> more(93, CalibrationChip{100, {100, false}});
  more[5].needed = {400, true};
  EXPECT_EQ(calibrate(more, {}, "sampled").bound, 0);
}

TEST(Calibrate, RejectedChipsDoNotCount) {
  std::vector<CalibrationChip> chips = sixty(100);
  chips[0].predicted.reset();
  const Calibration calibration = calibrate(chips, {}, "sampled");
  EXPECT_EQ(calibration.chips, 59);
  EXPECT_EQ(calibration.rejected, 1);
  chips[1].predicted.reset();
  const std::string message = test::input_error([&] { calibrate(chips, {}, "sampled"); });
  EXPECT_THAT(message, HasSubstr("58 calibration chips count (2 more lie where the curve rejects chips)"));
  EXPECT_THAT(message, HasSubstr("at least 59; raise 'calibrate.chips'"));
}

TEST(ChooseCalibration, TakesWholeWafers) {
  std::vector<std::string> wafers;
  for (int chip = 0; chip < 60; ++chip) wafers.push_back(chip % 10 == 9 ? "" : fmt::format("W{}", chip % 6));
  std::set<std::vector<std::size_t>> seen;
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    const auto chosen = choose_calibration(wafers, 20, seed);
    EXPECT_EQ(choose_calibration(wafers, 20, seed), chosen);
    EXPECT_TRUE(std::is_sorted(chosen.begin(), chosen.end()));
    EXPECT_GE(chosen.size(), 20u);
    EXPECT_LT(chosen.size(), 20u + 10u);
    const std::set<std::size_t> in(chosen.begin(), chosen.end());
    EXPECT_EQ(in.size(), chosen.size());
    std::map<std::string, std::set<bool>> of_wafer;
    for (std::size_t chip = 0; chip < wafers.size(); ++chip)
      if (!wafers[chip].empty()) of_wafer[wafers[chip]].insert(in.contains(chip));
    for (const auto& [wafer, both] : of_wafer) EXPECT_EQ(both.size(), 1u) << wafer;
    seen.insert(chosen);
  }
  EXPECT_GT(seen.size(), 10u);
  // Without wafers, chip by chip.
  EXPECT_EQ(choose_calibration(std::vector<std::string>(30), 7, 1).size(), 7u);
}

TEST(Climb, StopsAtTheFirstAmountThatIsEnough) {
  const std::map<std::int64_t, Score> known{
      {50, score(150)}, {100, score(99)}, {200, score(40)}, {400, score(90)}};
  const ScoreAt all = [&](std::int64_t steps) {
    const auto found = known.find(steps);
    return found == known.end() ? nullptr : &found->second;
  };
  const ScoreAt some = [&](std::int64_t steps) { return steps > 50 ? nullptr : all(steps); };
  const Ladder ladder = ladder_from(50, kAmounts, configs::Extend::estimate);
  EXPECT_EQ(ladder.amounts, (std::vector<std::int64_t>{50, 100, 200, 400}));
  EXPECT_EQ(climb(ladder, some, one_point()).missing, 100);
  const Climb reached = climb(ladder, all, one_point());
  EXPECT_EQ(reached.missing, std::nullopt);
  EXPECT_EQ(reached.reached, 100);
  EXPECT_EQ(reached.tried, (std::vector<std::int64_t>{50, 100}));
  // −0.99 points is within 1, but not beyond doubt.
  EXPECT_EQ(climb(ladder_from(50, kAmounts, configs::Extend::interval), all, one_point()).reached, 200);
  EXPECT_EQ(climb(ladder_from(70, {0, 50}, configs::Extend::estimate), all, one_point()).missing, 70);
  EXPECT_EQ(steps_spent(reached.tried, configs::ScheduleKind::constant), 100);
  EXPECT_EQ(steps_spent(reached.tried, configs::ScheduleKind::linear), 150);
  EXPECT_EQ(steps_spent({}, configs::ScheduleKind::linear), 0);
}

TEST(NextAmount, AscendsThroughMarksAndLadders) {
  const Wanted wanted{{0, 75}, {ladder_from(50, kAmounts, configs::Extend::estimate)}};
  std::map<std::int64_t, Score> known;
  std::vector<std::int64_t> asked;
  const ScoreAt score_at = [&](std::int64_t steps) {
    const auto found = known.find(steps);
    return found == known.end() ? nullptr : &found->second;
  };
  while (const auto next = next_amount(wanted, score_at, one_point())) {
    asked.push_back(*next);
    known[*next] = score(*next < 200 ? 150 : 10);
  }
  EXPECT_EQ(asked, (std::vector<std::int64_t>{0, 50, 75, 100, 200}));
}

ChipFacts chip(double fault_rate, std::int64_t lost) {
  ChipFacts facts;
  facts.id = "a";
  facts.fault_rate = fault_rate;
  facts.before = score(lost);
  facts.predictors = Predictors{fault_rate / 2, fault_rate / 3, 10 * fault_rate};
  return facts;
}

// Repeats at 10 and 20 % that need 50/100 and 200/400 steps; accuracies rise with steps and fall with rate.
PlanningData data() {
  PlanningData result;
  result.evaluated = kAmounts;
  result.repeats = 2;
  result.steps_per_epoch = 50;
  for (const double rate : {0.1, 0.2}) {
    std::vector<Needed> needed;
    for (int repeat = 0; repeat < 2; ++repeat) {
      Experience map;
      map.fault_rate = rate;
      map.predictors = {rate / 2, (rate + 0.01 * repeat) / 3, 10 * rate};
      map.needed = {rate < 0.15 ? 50 + 50 * repeat : 200 + 200 * repeat, false};
      for (const std::int64_t steps : kAmounts)
        map.accuracy.push_back({steps, 0.9 - rate / 10 + 1e-5 * static_cast<double>(steps) - 0.001 * repeat});
      needed.push_back(map.needed);
      result.maps.push_back(map);
    }
    result.rates.push_back(summarize_rate(rate, needed));
  }
  return result;
}

TEST(Planner, AdaptiveStartsAtTheMeanAndGoesOn) {
  const Planner planner(data(), one_point(), policy(PolicyName::adaptive));
  const ChipPlan plan = planner.decide(chip(0.1, 300));
  EXPECT_EQ(plan.verdict, Verdict::retrain);
  EXPECT_EQ(plan.planned_steps, 100);  // the mean, 75, rounded up to an evaluated amount
  EXPECT_THAT(plan.reason, HasSubstr("then more as long as it misses the constraint, 400 at most"));
  EXPECT_EQ(planner.decide(chip(0.3, 300)).verdict, Verdict::reject);
  EXPECT_EQ(planner.decide(chip(0.3, 10)).verdict, Verdict::ship);
}

TEST(Planner, QuantileAddsItsBound) {
  PlanningData planning = data();
  for (int i = 0; i < 60; ++i) planning.calibration.push_back({0.1, {}, {i == 7 ? 200 : 50, false}, {}});
  planning.calibration_source = "sampled";
  const Planner planner(planning, one_point(), policy(PolicyName::quantile));
  ASSERT_TRUE(planner.calibration().has_value());
  EXPECT_EQ(planner.calibration()->bound, 125);  // 200 − 75
  EXPECT_EQ(planner.decide(chip(0.1, 300)).planned_steps, 200);
  EXPECT_EQ(planner.decide(chip(0.2, 300)).planned_steps, 400);  // 300 + 125, but no amount is larger
  EXPECT_THAT(planner.decide(chip(0.1, 300)).reason, HasSubstr("+125 steps by calibration"));
  // A chip that measurably misses the constraint is not planned 0 steps.
  for (Experience& c : planning.calibration) c.needed = {0, false};
  EXPECT_EQ(Planner(planning, one_point(), policy(PolicyName::quantile)).decide(chip(0.1, 300)).planned_steps,
            50);
}

TEST(Planner, GoesByTheChosenPredictor) {
  const Planner planner(data(), one_point(), policy(PolicyName::max, Predictor::pruned_saliency));
  ChipFacts facts = chip(0.5, 300);  // its rate is beyond everything
  facts.predictors->pruned_saliency = 0.11 / 3;
  EXPECT_EQ(planner.decide(facts).planned_steps, 100);
  facts.predictors->pruned_saliency = 0.08;
  EXPECT_EQ(planner.decide(facts).verdict, Verdict::reject);
  facts.predictors.reset();
  EXPECT_THAT(test::input_error([&] { planner.decide(facts); }),
              HasSubstr("the pruned saliency of chip 'a' was not measured"));
}

TEST(Planner, ForecastsWhatMapsLikeItReached) {
  const Planner planner(data(), one_point(), policy(PolicyName::max));
  const ChipPlan plan = planner.decide(chip(0.15, 300));
  ASSERT_EQ(plan.planned_steps, 250);  // between 100 and 400
  ASSERT_TRUE(plan.predicted.has_value());
  // At 10 %: 0.89 + 0.0025 and 0.001 less; at 20 %: 0.01 less; half way between them.
  EXPECT_NEAR(plan.predicted->high, 0.8875, 1e-12);
  EXPECT_NEAR(plan.predicted->low, 0.8865, 1e-12);
  EXPECT_NEAR(plan.predicted->estimate, 0.887, 1e-12);
  EXPECT_NEAR(planner.decide(chip(0.01, 300)).predicted->high, 0.891, 1e-12);  // the lowest rate's, 100 steps
  // Shipped: measured, with the paired interval.
  const ChipPlan ship = planner.decide(chip(0.15, 10));
  EXPECT_NEAR(ship.predicted->estimate, 0.899, 1e-12);
  EXPECT_NEAR(ship.predicted->estimate - ship.predicted->low,
              score(10).change().estimate - score(10).change().low, 1e-12);
  // By saliency: the two nearest maps, 0.1/3 and 0.11/3.
  ChipFacts facts = chip(0.15, 300);
  facts.predictors->pruned_saliency = 0.108 / 3;
  const auto near =
      Planner(data(), one_point(), policy(PolicyName::max, Predictor::pruned_saliency)).decide(facts);
  EXPECT_NEAR(near.predicted->high, 0.89 + 1e-5 * static_cast<double>(near.planned_steps), 1e-12);
  EXPECT_NEAR(near.predicted->low, near.predicted->high - 0.001, 1e-12);
}

TEST(PrunedShares, CountsWeightsAndSquares) {
  workloads::Network network;
  for (const char* name : {"a", "b"}) {
    network.stages.emplace_back();
    network.stages.back().name = name;
  }
  workloads::Parameters weights;
  weights["a.weight"] = {{2, 2}, {1, 2, 3, 4}};
  weights["b.weight"] = {{1, 2}, {1, -3}};
  workloads::Masks masks;
  masks["a.weight"] = {{2, 2}, {1, 0, 1, 1}};
  masks["b.weight"] = {{1, 2}, {1, 0}};
  const Predictors shares = pruned_shares(network, weights, masks);
  EXPECT_DOUBLE_EQ(shares.mapped_fault_rate, 2.0 / 6);
  EXPECT_DOUBLE_EQ(shares.pruned_saliency, (4.0 / 30 + 9.0 / 10) / 2);
}

}  // namespace
}  // namespace kintsugi::training::reduce

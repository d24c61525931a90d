// plan.yaml reads back as what was written, and refuses what contradicts itself.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <functional>

#include "common/files.h"
#include "training/reduce/plan_file.h"

namespace kintsugi::training::reduce {
namespace {

using testing::HasSubstr;

Plan example() {
  Plan plan;
  plan.network = "fap_mlp";
  plan.weights_sha256 = std::string(64, 'a');
  plan.dataset = "fashion-mnist";
  plan.decided_on = "decision";
  plan.constraint.accuracy_drop = 0.005;
  plan.steps_per_epoch = 429;
  plan.baseline = {5000, 4431, 0, 0};
  ChipPlan chip;
  chip.facts = {"007",
                "chips/007/fault_map.yaml",
                std::string(64, 'b'),
                655,
                655.0 / 65536,
                655,
                0,
                {{"fc1", 0.01}, {"features.0", 0}},
                Score{5000, 4300, 20, 151},
                std::nullopt,
                {},
                Predictors{0.0125, 0.0075, 0.375}};
  chip.verdict = Verdict::retrain;
  chip.planned_steps = 100;
  chip.planned_epochs = 100.0 / 429;
  chip.predicted = Interval{0.8825, 0.88, 0.885};
  chip.calibrated = true;
  chip.reason = "a \"quoted\" reason: with, everything # in it";
  plan.chips.push_back(chip);
  chip.facts.id = "repaired";
  chip.facts.repaired = Score{5000, 4420, 30, 41};
  chip.facts.repair_steps = {4.5, 30, 2};
  chip.facts.predictors.reset();
  chip.predicted.reset();
  chip.calibrated = false;
  chip.verdict = Verdict::repair;
  chip.planned_steps = 0;
  plan.chips.push_back(chip);
  chip.facts.id = "dropped";
  chip.facts.dropped = repair::Dropped{3, 2, 7, 1.25, ""};
  plan.chips.push_back(chip);
  chip.facts.repaired.reset();
  chip.facts.dropped = repair::Dropped{256, 0, 0, 1, "every column: spoiled"};
  chip.facts.id = "yes";
  chip.verdict = Verdict::reject;
  chip.planned_steps = 0;
  chip.planned_epochs = 0;
  plan.chips.push_back(chip);
  return plan;
}

class PlanFile : public testing::Test {
 protected:
  std::filesystem::path write(const std::string& text) {
    common::write_file_atomic(file_, text);
    return file_;
  }
  void TearDown() override { std::filesystem::remove(file_); }
  std::filesystem::path file_ =
      std::filesystem::path(testing::TempDir()) /
      (std::string("plan_") + testing::UnitTest::GetInstance()->current_test_info()->name() + ".yaml");
};

TEST_F(PlanFile, ReadsBackTheSame) {
  const Plan plan = example();
  const std::string text = plan_yaml(plan);
  const Plan back = read_plan(write(text));
  EXPECT_EQ(plan_yaml(back), text);
  ASSERT_EQ(back.chips.size(), 4u);
  EXPECT_EQ(back.chips[0].facts.id, "007");
  EXPECT_EQ(back.chips[0].facts.before, plan.chips[0].facts.before);
  EXPECT_EQ(back.chips[0].facts.mapped_fault_rate, plan.chips[0].facts.mapped_fault_rate);
  EXPECT_EQ(back.chips[0].reason, plan.chips[0].reason);
  EXPECT_EQ(back.chips[0].planned_steps, 100);
  EXPECT_EQ(back.chips[1].verdict, Verdict::repair);
  EXPECT_EQ(back.chips[1].facts.repaired, plan.chips[1].facts.repaired);
  EXPECT_EQ(back.chips[1].facts.repair_steps, (RepairSteps{4.5, 30, 2}));
  EXPECT_EQ(back.chips[0].facts.predictors, plan.chips[0].facts.predictors);
  EXPECT_EQ(back.chips[1].facts.predictors, std::nullopt);
  ASSERT_TRUE(back.chips[0].predicted.has_value());
  EXPECT_EQ(back.chips[0].predicted->low, 0.88);
  EXPECT_TRUE(back.chips[0].calibrated);
  EXPECT_FALSE(back.chips[1].calibrated);
  EXPECT_EQ(back.chips[1].facts.dropped, std::nullopt);
  EXPECT_EQ(back.chips[2].facts.dropped, plan.chips[2].facts.dropped);
  EXPECT_EQ(back.chips[3].facts.id, "yes");
  EXPECT_EQ(back.chips[3].facts.repaired, std::nullopt);
  EXPECT_EQ(back.chips[3].facts.dropped, plan.chips[3].facts.dropped);
  EXPECT_EQ(back.chips[3].verdict, Verdict::reject);
}

TEST_F(PlanFile, KeepsPolicyAndGuarantee) {
  using enum configs::PolicyName;
  for (const configs::PolicyName name : {max, mean, fixed, quantile, adaptive})
    for (const configs::Predictor predictor :
         {configs::Predictor::fault_rate, configs::Predictor::pruned_saliency, configs::Predictor::loss}) {
      Plan plan = example();
      plan.policy = {name, name == fixed ? 7 : 0, predictor, 0.9, 0.8, configs::Extend::interval};
      if (name == quantile) plan.calibration = Calibration{{0.9, 0.8}, "lot", 41, 2, 1, -15};
      const Plan back = read_plan(write(plan_yaml(plan)));
      EXPECT_EQ(plan_yaml(back), plan_yaml(plan));
      EXPECT_EQ(back.policy.name, name);
      EXPECT_EQ(back.policy.predictor, predictor);
      EXPECT_EQ(back.calibration.has_value(), name == quantile);
      if (!back.calibration) continue;
      EXPECT_EQ(back.policy.coverage, 0.9);
      EXPECT_EQ(back.calibration->bound, -15);
      EXPECT_EQ(back.calibration->chips, 41);
      EXPECT_EQ(back.calibration->source, "lot");
    }
}

TEST_F(PlanFile, ReadsBackAPlanWithoutMeasurements) {
  Plan plan = example();
  plan.accuracy_check = false;
  plan.chips.erase(plan.chips.begin() + 1);
  for (ChipPlan& chip : plan.chips) chip.facts.before.reset();
  const std::string text = plan_yaml(plan);
  EXPECT_THAT(text, HasSubstr("\n  accuracy_check: false  # no chip was measured before it was planned\n"));
  EXPECT_THAT(text, testing::Not(HasSubstr("before:")));
  const Plan back = read_plan(write(text));
  EXPECT_EQ(plan_yaml(back), text);
  EXPECT_FALSE(back.accuracy_check);
  EXPECT_EQ(back.chips[0].facts.before, std::nullopt);
}

Plan example_with_groups() {
  Plan plan = example();
  plan.chips[1].verdict = Verdict::retrain;
  plan.chips[1].planned_steps = 50;
  plan.chips[0].group = plan.chips[1].group = "group-0001";
  plan.groups = {{"group-0001", {"007", "repaired"}, 1200, 1200.0 / 65536, 120, 120.0 / 429, 22.5}};
  return plan;
}

TEST_F(PlanFile, ReadsBackGroups) {
  const Plan plan = example_with_groups();
  const std::string text = plan_yaml(plan);
  const Plan back = read_plan(write(text));
  EXPECT_EQ(plan_yaml(back), text);
  EXPECT_EQ(back.groups, plan.groups);
  EXPECT_EQ(back.chips[0].group, "group-0001");
  EXPECT_EQ(back.chips[2].group, std::nullopt);
  // Asked for and not found is not the same as not asked for.
  Plan none = example();
  EXPECT_THAT(plan_yaml(none), testing::Not(HasSubstr("group")));
  EXPECT_EQ(read_plan(write(plan_yaml(none))).groups, std::nullopt);
  none.groups.emplace();
  ASSERT_TRUE(read_plan(write(plan_yaml(none))).groups.has_value());
  EXPECT_TRUE(read_plan(file_).groups->empty());
}

TEST_F(PlanFile, RefusesGroupsThatDoNotFitTheirChips) {
  const auto message = [&](const std::function<void(Plan&)>& edit) -> std::string {
    Plan plan = example_with_groups();
    edit(plan);
    write(plan_yaml(plan));
    try {
      read_plan(file_);
    } catch (const common::InputError& error) {
      return error.what();
    }
    return "accepted";
  };
  EXPECT_EQ(message([](Plan&) {}), "accepted");
  EXPECT_THAT(
      message([](Plan& p) { p.chips[0].group.reset(); }),
      HasSubstr("group 'group-0001' lists [007, repaired], and the chips that name it are [repaired]"));
  EXPECT_THAT(message([](Plan& p) { p.chips[0].group = "group-0002"; }),
              HasSubstr("chip '007' is in group 'group-0002', which is not among 'groups'"));
  EXPECT_THAT(message([](Plan& p) { p.groups->push_back(p.groups->front()); }),
              HasSubstr("group 'group-0001' stands in the plan twice"));
  EXPECT_THAT(message([](Plan& p) { p.groups->front().chips.pop_back(); }),
              HasSubstr("group 'group-0001' has 1 chip; a group has two at least"));
  EXPECT_THAT(message([](Plan& p) { p.groups->front().planned_steps = 0; }),
              HasSubstr("'planned_steps' must be"));
  EXPECT_THAT(message([](Plan& p) { p.groups->front().id = "../out"; }),
              HasSubstr("group id '../out' cannot name a file"));
  EXPECT_THAT(message([](Plan& p) {
                p.chips[1].verdict = Verdict::repair;
                p.chips[1].planned_steps = 0;
              }),
              HasSubstr("chip 'repaired' is in group 'group-0001', which is retrained"));
  EXPECT_THAT(message([](Plan& p) { p.chips[0].facts.live_faults = 1; }),
              HasSubstr("chip '007' has faults that no bypass hides"));
}

TEST_F(PlanFile, ReadsBackAPlanOfChipsMeasuredAfterRepairOnly) {
  Plan plan = example();
  plan.check_before_repair = false;
  plan.chips.erase(plan.chips.begin() + 1);
  for (ChipPlan& chip : plan.chips) {
    chip.facts.before.reset();
    chip.facts.repaired = Score{plan.baseline.images, 90, 1, 2};
  }
  const std::string text = plan_yaml(plan);
  const Plan back = read_plan(write(text));
  EXPECT_EQ(plan_yaml(back), text);
  EXPECT_FALSE(back.check_before_repair);
  EXPECT_EQ(back.chips[0].facts.repaired, plan.chips[0].facts.repaired);
}

TEST_F(PlanFile, RefusesStepsThatDoNotFitTheVerdict) {
  Plan plan = example();
  plan.chips[0].verdict = Verdict::ship;
  plan.chips[1].facts.id = plan.chips[0].facts.id;
  write(plan_yaml(plan));
  try {
    read_plan(file_);
    FAIL() << "accepted";
  } catch (const common::InputError& error) {
    EXPECT_THAT(error.what(), HasSubstr("'plan: ship' does not go with 100 planned steps"));
    EXPECT_THAT(error.what(), HasSubstr("chip '007' stands in the plan twice"));
  }
}

}  // namespace
}  // namespace kintsugi::training::reduce

// plan.yaml reads back as what was written, and refuses what contradicts itself.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

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
                {5000, 4300, 20, 151},
                std::nullopt,
                0};
  chip.verdict = Verdict::retrain;
  chip.planned_steps = 100;
  chip.planned_epochs = 100.0 / 429;
  chip.reason = "a \"quoted\" reason: with, everything # in it";
  plan.chips.push_back(chip);
  chip.facts.id = "repaired";
  chip.facts.repaired = Score{5000, 4420, 30, 41};
  chip.facts.repair_steps = 36.5;
  chip.verdict = Verdict::repair;
  chip.planned_steps = 0;
  plan.chips.push_back(chip);
  chip.facts.repaired.reset();
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
  ASSERT_EQ(back.chips.size(), 3u);
  EXPECT_EQ(back.chips[0].facts.id, "007");
  EXPECT_EQ(back.chips[0].facts.before, plan.chips[0].facts.before);
  EXPECT_EQ(back.chips[0].facts.mapped_fault_rate, plan.chips[0].facts.mapped_fault_rate);
  EXPECT_EQ(back.chips[0].reason, plan.chips[0].reason);
  EXPECT_EQ(back.chips[0].planned_steps, 100);
  EXPECT_EQ(back.chips[1].verdict, Verdict::repair);
  EXPECT_EQ(back.chips[1].facts.repaired, plan.chips[1].facts.repaired);
  EXPECT_EQ(back.chips[1].facts.repair_steps, 36.5);
  EXPECT_EQ(back.chips[2].facts.id, "yes");
  EXPECT_EQ(back.chips[2].facts.repaired, std::nullopt);
  EXPECT_EQ(back.chips[2].verdict, Verdict::reject);
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

// Policies, schedules and costs of `kintsugi reduce` from the outside, on campaigns of a few seconds.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "common/csv.h"
#include "common/diagnostics.h"
#include "common/files.h"
#include "common/text.h"
#include "tests/support/run_shell.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/tiny_campaign.h"

namespace kintsugi {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::Not;

constexpr const char* kCampaign = R"(campaign:
  chip: chip.yaml
  network: network.yaml
  dataset: {images: x.npy, labels: y.npy, decision_images: 240}
  pretrain: {epochs: 4, batch: 32}
  retrain: {batch: 32, learning_rate: 0.05}
  constraint: {accuracy_drop: 0.03}
  characterize: {fault_rates: [0.1, 0.25, 0.3], repeats: 2, amounts: [10, 20, 40]}
  chips: {sample: {count: 6, fault_rate: {uniform: [0.1, 0.28]}}}
  compare: {fixed_steps: [15]}
)";
// One inference over the decision images, in steps: 240 / (3 · 32).
constexpr double kCheck = 2.5;

using Table = std::vector<std::map<std::string, std::string>>;

class ReducePolicies : public testing::Test {
 protected:
  void SetUp() override { test::write_tiny_campaign(folder_.path(), kCampaign); }
  test::Outcome reduce(const std::string& step, const std::string& out, const std::string& more = "") const {
    return test::run_shell("cd '" + folder_.path().string() + "' && '" KINTSUGI_BINARY "' reduce " + step +
                           " --campaign campaign.yaml --quiet --out " + out + " " + more);
  }
  void all(const std::string& out, const std::string& more = "") const {
    const test::Outcome outcome = reduce("all", out, "--workers 2 --threads 1 " + more);
    ASSERT_EQ(outcome.status, 0) << outcome.text;
  }
  std::string text(const std::string& name) const { return common::read_file(folder_ / name); }
  Table table(const std::string& name) const {
    common::Diagnostics diagnostics;
    const auto rows = common::parse_csv(text(name), name, diagnostics);
    Table result;
    for (std::size_t r = 1; r < rows.size(); ++r) {
      result.emplace_back();
      for (std::size_t c = 0; c < rows[r].cells.size(); ++c)
        result.back()[rows[0].cells[c].text] = rows[r].cells[c].text;
    }
    return result;
  }
  static double number(const std::string& cell) { return common::parse_real(cell).value_or(-1e9); }

  test::TemporaryFolder folder_;
};

const std::string kLinear = "--set 'campaign.retrain.schedule={name: linear}' ";

TEST_F(ReducePolicies, LinearScheduleRunsEveryAmountByItself) {
  all("linear", kLinear);
  const test::Outcome again = reduce("all", "again", kLinear + "--workers 1 --threads 2");
  ASSERT_EQ(again.status, 0) << again.text;
  test::expect_same_campaigns(folder_ / "linear", folder_ / "again");
  all("constant");
  const Table linear = table("linear/characterization.csv"),
              constant = table("constant/characterization.csv");
  ASSERT_EQ(linear.size(), 24u);  // 3 rates, 2 repeats, 0 and three amounts
  ASSERT_EQ(constant.size(), 24u);
  int differing = 0;
  for (std::size_t i = 0; i < linear.size(); ++i) {
    EXPECT_EQ(linear[i].at("steps"), (std::vector<std::string>{"0", "10", "20", "40"})[i % 4]);
    if (i % 4 == 0) {
      EXPECT_EQ(linear[i].at("accuracy"), constant[i].at("accuracy"));
    } else {
      differing += linear[i].at("accuracy") != constant[i].at("accuracy") ? 1 : 0;
    }
  }
  EXPECT_GT(differing, 0);
  // What was really run: 10 + 20 + 40 steps a map, or one run of 40.
  EXPECT_THAT(text("linear/summary.yaml"), HasSubstr("characterization_steps: 420\n"));
  EXPECT_THAT(text("constant/summary.yaml"), HasSubstr("characterization_steps: 240\n"));
}

TEST_F(ReducePolicies, CountsEveryStageOfAChip) {
  common::write_file_atomic(folder_ / "campaign.yaml",
                            std::string(kCampaign) + "  repair: {mapping: {saliency: square}}\n");
  all("a");
  int retrained = 0;
  for (const auto& row : table("a/results.csv")) {
    const double checks = row.at("plan") == "retrain" ? 3 : 2;  // before, repaired, after
    EXPECT_DOUBLE_EQ(number(row.at("check_steps")), checks * kCheck) << row.at("chip");
    EXPECT_GT(number(row.at("mapping_steps")), 0);
    EXPECT_EQ(number(row.at("compensation_steps")), 0);
    EXPECT_NEAR(number(row.at("arithmetic_steps")),
                number(row.at("mapping_steps")) + checks * kCheck + number(row.at("steps_spent")), 0.02);
    retrained += row.at("plan") == "retrain" ? 1 : 0;
  }
  EXPECT_GT(retrained, 0);
  // 6 maps, 4 accuracies each.
  EXPECT_THAT(text("a/summary.yaml"), HasSubstr("checks: 60.0, retraining: 240, total: "));
  std::string stages;
  for (const auto& row : table("a/timings.csv")) {
    stages += row.at("of") + "/" + row.at("stage") + " ";
    EXPECT_GE(number(row.at("cpu_seconds")), 0);
  }
  for (const char* stage : {"phase characterize/retraining", "phase before/mapping", "phase before/checks",
                            "phase retrain/retraining", "phase retrain/experiment", "policy max/all"})
    EXPECT_THAT(stages, HasSubstr(stage));
  // A policy's line is the sum of its chips, whatever is planned.
  for (const auto& row : table("a/compare.csv")) {
    if (!row.at("fault_rate_above").empty() || !row.at("fault_rate_up_to").empty()) continue;
    EXPECT_NEAR(
        number(row.at("arithmetic_steps")),
        number(row.at("total_steps")) + number(row.at("repair_steps")) + number(row.at("check_steps")), 0.2);
    EXPECT_GE(number(row.at("check_steps")), 6 * 2 * kCheck - 0.1);
  }
  EXPECT_THAT(text("a/compare.svg"), HasSubstr("fixed 15: "));
}

// The same repairs, and a check a chip less.
TEST_F(ReducePolicies, ChipsMayBeMeasuredAfterRepairOnly) {
  const std::string repairs =
      std::string(kCampaign) + "  repair: {mapping: {saliency: output}, compensation: {images: 200}}\n";
  common::write_file_atomic(folder_ / "campaign.yaml", repairs);
  all("both");
  common::write_file_atomic(folder_ / "campaign.yaml", repairs + "  plan: {check_before_repair: false}\n");
  all("after");
  EXPECT_THAT(text("after/plan.yaml"),
              HasSubstr("\n  check_before_repair: false  # chips were measured after"));
  EXPECT_THAT(text("after/plan.yaml"), Not(HasSubstr("accuracy_before")));
  EXPECT_THAT(text("after/plan.yaml"), Not(HasSubstr("plan: ship\n")));
  const Table both = table("both/results.csv"), after = table("after/results.csv");
  int compared = 0;
  for (std::size_t i = 0; i < both.size(); ++i) {
    EXPECT_EQ(after[i].at("accuracy_before"), "");
    if (both[i].at("plan") == "ship") continue;
    ++compared;
    EXPECT_EQ(after[i].at("plan"), both[i].at("plan"));
    EXPECT_EQ(after[i].at("test_accuracy"), both[i].at("test_accuracy"));
    EXPECT_NEAR(number(after[i].at("check_steps")), number(both[i].at("check_steps")) - kCheck, 1e-9);
  }
  EXPECT_GT(compared, 3);
  const test::Outcome table_of_chips =
      test::run_shell("cd '" + folder_.path().string() +
                      "' && '" KINTSUGI_BINARY "' reduce plan --campaign campaign.yaml --out after");
  EXPECT_THAT(table_of_chips.text, Not(HasSubstr("fault  before\n")));
  EXPECT_THAT(table_of_chips.text, HasSubstr("fault  repaired\n"));
}

TEST_F(ReducePolicies, ARepairIsDoneOnce) {
  common::write_file_atomic(
      folder_ / "campaign.yaml",
      std::string(kCampaign) + "  repair: {mapping: {saliency: output}, compensation: {images: 200}}\n");
  all("a");
  EXPECT_FALSE(fs::exists(folder_ / "a/tasks/repaired"));
  // Step by step: planning keeps what it repaired, retraining goes on from that, and throws it away.
  ASSERT_EQ(reduce("characterize", "b").status, 0);
  ASSERT_EQ(reduce("plan", "b").status, 0);
  fs::copy(folder_ / "b", folder_ / "without", fs::copy_options::recursive);
  fs::copy(folder_ / "b", folder_ / "spoilt", fs::copy_options::recursive);
  ASSERT_EQ(std::distance(fs::directory_iterator(folder_ / "b/tasks/repaired"), fs::directory_iterator()), 6);
  fs::remove_all(folder_ / "without/tasks/repaired");
  for (const char* out : {"b", "without"}) {
    ASSERT_EQ(reduce("compare", out).status, 0);
    test::expect_same_campaigns(folder_ / "a", folder_ / out);
  }
  // It is really used: another network there is what is delivered; a damaged file is not.
  int kept = 0;
  std::string other;
  for (const auto& entry : fs::directory_iterator(folder_ / "spoilt/tasks/repaired")) {
    std::string bytes = common::read_file(entry.path());
    if (++kept % 2 == 0)
      bytes.resize(bytes.size() / 2);
    else
      bytes[bytes.size() - 30] = static_cast<char>(bytes[bytes.size() - 30] ^ 0x40),
                           other = entry.path().stem();
    common::write_file_atomic(entry.path(), bytes);
  }
  ASSERT_EQ(reduce("compare", "spoilt").status, 0);
  int changed = 0;
  for (const auto& entry : fs::directory_iterator(folder_ / "spoilt/chips")) {
    const std::string file = "chips/" + entry.path().filename().string() + "/weights.safetensors";
    if (fs::exists(folder_ / "a" / file)) changed += text("a/" + file) != text("spoilt/" + file) ? 1 : 0;
  }
  EXPECT_GT(changed, 0);
  EXPECT_LE(changed, 3);
}

TEST_F(ReducePolicies, AdaptiveGoesOnUntilTheConstraintIsMet) {
  for (const std::string& schedule : {std::string(), kLinear}) {
    const std::string out = schedule.empty() ? "constant" : "linear";
    all(out, schedule + "--set 'campaign.policy={name: adaptive}'");
    const double limit = [&] {
      const std::string plan = text(out + "/plan.yaml");
      const std::size_t at = plan.find("correct: ");
      return number(plan.substr(at + 9, plan.find(',', at) - at - 9)) / 240 - 0.03;
    }();
    int extended = 0, retrained = 0;
    for (const auto& row : table(out + "/results.csv")) {
      if (row.at("plan") != "retrain") continue;
      ++retrained;
      const double spent = number(row.at("steps_spent")), planned = number(row.at("planned_steps"));
      const double last = number(row.at("check_steps")) / kCheck - 1;  // amounts that were looked at
      EXPECT_GE(spent, planned);
      extended += spent > planned ? 1 : 0;
      EXPECT_EQ(last > 1, spent > planned);
      if (number(row.at("decision_accuracy")) < limit - 1e-9) {
        EXPECT_EQ(spent, schedule.empty() ? 40
                         : planned == 10  ? 70
                         : planned == 20  ? 60
                                          : 40)
            << row.at("chip");
      }
      EXPECT_TRUE(fs::exists(folder_ / out / "chips" / row.at("chip") / "deployed.safetensors"));
    }
    EXPECT_GT(retrained, 0);
    EXPECT_GT(extended, 0) << "this test needs a chip that is extended";
    // Read again, step by step: the same.
    const std::string results = text(out + "/results.csv");
    ASSERT_EQ(reduce("retrain", out, schedule + "--set 'campaign.policy={name: adaptive}'").status, 0);
    EXPECT_EQ(text(out + "/results.csv"), results);
  }
}

TEST_F(ReducePolicies, ComparesWithoutMaxToo) {
  for (const auto& [out, policies] : {std::pair<std::string, std::string>{"a", "[]"}, {"b", "[adaptive]"}}) {
    all(out, fmt::format("--set 'campaign.compare={{policies: {}, fixed_steps: [15]}}' --set "
                         "'campaign.policy={{name: fixed, steps: 20}}'",
                         policies));
    const Table compare = table(out + "/compare.csv");
    for (const auto& line : compare) {
      EXPECT_NE(line.at("policy"), "max");
      EXPECT_EQ(line.at("break_even_chips"), "");  // from when on max pays off: there is none to say it of
    }
    EXPECT_THAT(text(out + "/compare.csv"), HasSubstr("\nfixed 15,"));
  }
}

TEST_F(ReducePolicies, QuantileStatesItsGuaranteeAndChecksIt) {
  const std::string how =
      "--set 'campaign.policy={name: quantile, predictor: pruned_saliency, coverage: 0.8, confidence: 0.8}' "
      "--set 'campaign.calibrate={chips: 12}' --set campaign.constraint.accuracy_drop=0.05 "
      "--set campaign.characterize.fault_rates=[0.1,0.25,0.4] ";
  all("a", how);
  const std::string plan = text("a/plan.yaml"), summary = text("a/summary.yaml");
  EXPECT_THAT(
      plan,
      HasSubstr("policy: {name: quantile, coverage: 0.8, confidence: 0.8, predictor: pruned_saliency}"));
  EXPECT_THAT(plan, HasSubstr("calibrated_on: sampled"));
  EXPECT_THAT(plan, HasSubstr("at least 80 % of the chips from this fault population"));
  EXPECT_THAT(summary, HasSubstr("checked: {chips: "));
  EXPECT_THAT(summary, HasSubstr("    calibration: {mapping: 0.0"));
  EXPECT_THAT(text("a/compare.csv"), HasSubstr("\nquantile by pruned saliency,"));
  EXPECT_THAT(text("a/compare.csv"), HasSubstr("\nmax,"));
  EXPECT_THAT(text("a/compare.csv"), HasSubstr("\nmax by pruned saliency,"));
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_ / "a/tasks/calibrate"), fs::directory_iterator()),
            12);
  ASSERT_EQ(reduce("all", "b", how + "--workers 1 --threads 2").status, 0);
  test::expect_same_campaigns(folder_ / "a", folder_ / "b");
}

// A lot that was measured calibrates on its own chips, and checks the guarantee on the others only.
TEST_F(ReducePolicies, AMeasuredLotCalibratesOnItsOwnChips) {
  std::string lot = "chip,row,col\n";
  for (int chip = 0; chip < 16; ++chip)
    for (int fault = 0; fault < 8; ++fault)
      lot += fmt::format("D{},{},{}\n", chip, (chip + fault) % 8, (3 * fault + chip) % 8);
  common::write_file_atomic(folder_ / "lot.csv", lot);
  const std::string how =
      "--set 'campaign.policy={name: quantile, coverage: 0.8, confidence: 0.8}' --set 'campaign.chips={lot: "
      "lot.csv}' --set campaign.constraint.accuracy_drop=0.1 ";
  all("a", how + "--set 'campaign.calibrate={chips: 9}'");
  const std::string plan = text("a/plan.yaml");
  EXPECT_THAT(plan, HasSubstr("calibrated_on: lot"));
  EXPECT_THAT(plan, HasSubstr("from the population of this lot"));
  std::size_t calibrated = 0;
  for (std::size_t at = 0; (at = plan.find("calibrated: true", at)) != std::string::npos; ++at) ++calibrated;
  EXPECT_EQ(calibrated, 9u);
  EXPECT_THAT(text("a/summary.yaml"), HasSubstr("checked: {chips: 7, "));
  EXPECT_THAT(reduce("all", "b", how + "--set 'campaign.calibrate={chips: 16}'").text,
              HasSubstr("the lot has 16 chips; calibrate on fewer"));
  EXPECT_THAT(reduce("all", "b", how + "--set 'campaign.calibrate={chips: 7}'").text,
              HasSubstr("'calibrate.chips' is 7, and a guarantee for 80 % of the chips with confidence 80 % "
                        "needs at least 8"));
}

// Chips of one wafer calibrate together or not at all.
TEST_F(ReducePolicies, WholeWafersCalibrate) {
  fs::create_directories(folder_ / "maps");
  for (int chip = 0; chip < 16; ++chip) {
    std::string map = fmt::format(
        "fault_map:\n  version: 1\n  chip: D{}\n  rows: 8\n  cols: 8\n  meta: {{lot: L1, wafer: W{}}}\n  "
        "faults:\n",
        chip, chip / 4);
    for (int fault = 0; fault < 6; ++fault)
      map += fmt::format("    - {{row: {}, col: {}}}\n", (chip + fault) % 8, (3 * fault + chip) % 8);
    common::write_file_atomic(folder_ / "maps" / fmt::format("{}.yaml", chip), map);
  }
  const std::string how =
      "--set 'campaign.policy={name: quantile, coverage: 0.8, confidence: 0.8}' --set "
      "'campaign.chips={fault_maps: "
      "\"maps/*.yaml\"}' --set campaign.constraint.accuracy_drop=0.1 ";
  ASSERT_EQ(reduce("characterize", "a", how + "--set 'campaign.calibrate={chips: 9}'").status, 0);
  std::map<int, int> of_wafer;
  for (const auto& entry : fs::directory_iterator(folder_ / "a/tasks/calibrate"))
    ++of_wafer[std::stoi(entry.path().stem().string().substr(1)) / 4];
  EXPECT_EQ(of_wafer.size(), 3u);  // 9 chips need three wafers of four
  for (const auto& [wafer, chips] : of_wafer) EXPECT_EQ(chips, 4) << wafer;
  EXPECT_THAT(reduce("characterize", "b", how + "--set 'campaign.calibrate={chips: 13}'").text,
              HasSubstr("the lot has 16 chips, of which whole wafers calibrate; calibrate on fewer"));
}

}  // namespace
}  // namespace kintsugi

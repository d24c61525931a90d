// A whole lot planned from its CSV without measuring a chip: every amount is what resilience.csv says for the
// chip's own number of lines in the file.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>
#include <optional>
#include <set>

#include "common/csv.h"
#include "tests/cli/program.h"
#include "tests/support/tiny_campaign.h"

namespace kintsugi {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

constexpr const char* kCampaign = R"(campaign:
  chip: chip.yaml
  network: network.yaml
  dataset: {images: x.npy, labels: y.npy, decision_images: 250}
  pretrain: {epochs: 4, batch: 32}
  retrain: {batch: 32, learning_rate: 0.02}
  constraint: {accuracy_drop: 0.02}
  characterize: {fault_rates: [0.05, 0.2, 0.4], repeats: 2, max_steps: 60, evaluate_every_steps: 10}
  chips: {lot: lot.csv}
  plan: {accuracy_check: false}
)";

class LotPlan : public test::Program {
 protected:
  void SetUp() override { test::write_tiny_campaign(folder_.path(), kCampaign); }
  std::vector<std::map<std::string, std::string>> table(const std::string& name) const {
    common::Diagnostics diagnostics;
    const auto rows = common::parse_csv(file(name), name, diagnostics);
    std::vector<std::map<std::string, std::string>> lines;
    for (std::size_t r = 1; r < rows.size(); ++r) {
      lines.emplace_back();
      for (std::size_t c = 0; c < rows[r].cells.size(); ++c)
        lines.back()[rows[0].cells[c].text] = rows[r].cells[c].text;
    }
    return lines;
  }
};

TEST_F(LotPlan, FollowsTheCurveForEveryChip) {
  constexpr int kChips = 300;
  ASSERT_EQ(run(fmt::format(
                "fault-map sample --rows 8 --cols 8 --count {} --rate-range 0.01,0.6 --lot lot.csv", kChips)),
            0)
      << file("stderr");
  ASSERT_EQ(run("reduce characterize --campaign campaign.yaml --out out --quiet"), 0) << file("stderr");
  ASSERT_EQ(run("reduce plan --campaign campaign.yaml --out out"), 0) << file("stderr");
  EXPECT_THAT(file("stdout"), HasSubstr("from fault maps alone"));
  EXPECT_FALSE(exists("out/tasks/before"));
  struct Point {
    double rate, steps;
  };
  std::vector<Point> curve;
  for (auto& line : table("out/resilience.csv")) {
    if (line["censored"] == "2") break;
    const double steps = std::stod(line["max_steps"]);
    curve.push_back(
        {std::stod(line["fault_rate"]), std::max(steps, curve.empty() ? 0.0 : curve.back().steps)});
  }
  ASSERT_GE(curve.size(), 2u);
  std::map<std::string, std::set<std::string>> faulty;
  for (auto& line : table("lot.csv"))
    if (line["row"].empty())
      faulty[line["chip"]];
    else
      faulty[line["chip"]].insert(line["row"] + "," + line["col"]);
  const auto expected = [&](double rate) -> std::optional<std::int64_t> {
    if (rate > curve.back().rate) return std::nullopt;
    if (rate <= curve.front().rate) return static_cast<std::int64_t>(std::ceil(curve.front().steps));
    std::size_t i = 1;
    while (rate > curve[i].rate) ++i;
    const double part = (rate - curve[i - 1].rate) / (curve[i].rate - curve[i - 1].rate);
    return static_cast<std::int64_t>(
        std::ceil(curve[i - 1].steps + part * (curve[i].steps - curve[i - 1].steps) - 1e-9));
  };
  int retrained = 0, rejected = 0;
  const YAML::Node plan = YAML::Load(file("out/plan.yaml"))["plan"];
  EXPECT_EQ(plan["accuracy_check"].as<std::string>(), "false");
  ASSERT_EQ(plan["chips"].size(), static_cast<std::size_t>(kChips));
  for (const YAML::Node& chip : plan["chips"]) {
    const auto id = chip["id"].as<std::string>();
    const auto steps = expected(static_cast<double>(faulty.at(id).size()) / 64);
    EXPECT_EQ(chip["plan"].as<std::string>(), !steps ? "reject" : *steps > 0 ? "retrain" : "ship") << id;
    EXPECT_EQ(chip["planned_steps"].as<std::int64_t>(), steps.value_or(0)) << id;
    EXPECT_FALSE(chip["accuracy_before"].IsDefined()) << id;
    EXPECT_TRUE(exists("out/" + chip["fault_map"].as<std::string>())) << id;
    retrained += steps && *steps > 0 ? 1 : 0;
    rejected += steps ? 0 : 1;
  }
  EXPECT_GT(retrained, 30);
  EXPECT_GT(rejected, 3);
}

TEST_F(LotPlan, IsJudgedAfterRetraining) {
  write("lot.csv", "chip,row,col\nA,0,1\nA,3,3\nA,5,5\nB,,\nC,0,0\nC,1,1\nC,2,2\nC,3,7\nC,4,4\nC,6,1\n");
  ASSERT_EQ(run("reduce all --campaign campaign.yaml --out out --quiet"), 0) << file("stderr");
  const auto results = table("out/results.csv");
  ASSERT_EQ(results.size(), 3u);
  for (auto line : results) {
    EXPECT_EQ(line["accuracy_before"], "") << line["chip"];
    EXPECT_NE(line["test_accuracy"], "") << line["chip"];
    EXPECT_NE(line["outcome"], "rejected") << line["chip"];
  }
}

}  // namespace
}  // namespace kintsugi

// Chips that share a network, from the outside: grouped by what their maps have in common, retrained once,
// and each delivered with its own bypass.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <yaml-cpp/yaml.h>

#include <map>
#include <set>
#include <string>
#include <variant>
#include <vector>

#include "common/csv.h"
#include "common/diagnostics.h"
#include "common/text.h"
#include "tests/cli/tiny_groups.h"
#include "tests/cli/tiny_reduce.h"
#include "workloads/safetensors.h"

namespace kintsugi {
namespace {

using test::Outcome;
using testing::HasSubstr;
using testing::Not;

using Table = std::map<std::string, std::map<std::string, std::string>>;  // by the first column

class ReduceGroups : public test::TinyReduce {
 protected:
  void SetUp() override {
    TinyReduce::SetUp();
    write("lot.csv", test::lot_of_families());
    write("campaign.yaml", test::kGroupedCampaign);
  }
  void all(const std::string& out, const std::string& more = "") const {
    const Outcome outcome = reduce_all(out, more);
    ASSERT_EQ(outcome.status, 0) << outcome.text;
  }
  Table table(const std::string& name) const {
    common::Diagnostics diagnostics;
    const auto rows = common::parse_csv(text(name), name, diagnostics);
    Table result;
    for (std::size_t r = 1; r < rows.size(); ++r)
      for (std::size_t c = 0; c < rows[r].cells.size(); ++c)
        result[rows[r].cells[0].text][rows[0].cells[c].text] = rows[r].cells[c].text;
    return result;
  }
  static double number(const std::string& cell) { return common::parse_real(cell).value_or(-1e9); }
  YAML::Node plan(const std::string& out) const { return YAML::Load(text(out + "/plan.yaml"))["plan"]; }
  // What a chip's own files compute on it.
  std::string logits(const std::string& out, const std::string& id, const std::string& fidelity) const {
    const std::string chip = out + "/chips/" + id, to = "run_" + id + "_" + fidelity;
    write("workload.yaml",
          fmt::format("workload:\n  network: network.yaml\n  weights: {}/deployed.safetensors\n"
                      "  dataset: {{images: {}/test/images.npy, labels: {}/test/labels.npy}}\n  batch: 8\n",
                      chip, out, out));
    const Outcome outcome =
        run(fmt::format("run --chip chip.yaml --workload workload.yaml --fidelity {} --fault-map "
                        "{}/fault_map.yaml --out {}",
                        fidelity, chip, to));
    EXPECT_EQ(outcome.status, 0) << outcome.text;
    return text(to + "/logits.npy");
  }
};

// The plan's groups: who is in them, what their maps add up to, and what that saves.
void expect_sound_groups(const YAML::Node& plan) {
  const auto lot = test::families();
  std::map<std::string, YAML::Node> chips;
  for (const YAML::Node& chip : plan["chips"]) chips[chip["id"].as<std::string>()] = chip;
  ASSERT_GE(plan["groups"].size(), 2u);
  for (const YAML::Node& group : plan["groups"]) {
    std::set<std::pair<int, int>> pes;
    std::set<char> families;
    double alone = 0;
    const auto steps = group["planned_steps"].as<std::int64_t>();
    for (const YAML::Node& member : group["chips"]) {
      const auto id = member.as<std::string>();
      EXPECT_EQ(chips[id]["group"].as<std::string>(), group["id"].as<std::string>());
      EXPECT_EQ(chips[id]["plan"].as<std::string>(), "retrain");
      EXPECT_LE(chips[id]["planned_steps"].as<std::int64_t>(), steps);
      alone += chips[id]["planned_steps"].as<double>();
      pes.insert(lot.at(id).begin(), lot.at(id).end());
      families.insert(id[0]);
    }
    EXPECT_EQ(families.size(), 1u) << "maps that have nothing in common";
    EXPECT_EQ(group["bypassed_pes"].as<std::size_t>(), pes.size());
    EXPECT_NEAR(group["saving"].as<double>(), alone - static_cast<double>(steps), 0.05);
  }
  EXPECT_FALSE(chips["A4"]["group"]) << "a chip with a fault that no bypass hides";
}

TEST_F(ReduceGroups, ChipsWithFaultsInCommonShareANetwork) {
  const Outcome one = run("reduce all --campaign campaign.yaml --out one --workers 1 --threads 2 --quiet");
  ASSERT_EQ(one.status, 0) << one.text;
  all("two");
  test::expect_same_campaigns(folder_ / "one", folder_ / "two");
  const YAML::Node planned = plan("one");
  expect_sound_groups(planned);
  const Table results = table("one/results.csv");
  const auto lot = test::families();
  double saved = 0;
  for (const YAML::Node& group : planned["groups"]) {
    const auto first = group["chips"][0].as<std::string>();
    const std::string functional = logits("one", first, "functional");
    for (const YAML::Node& member : group["chips"]) {
      const auto id = member.as<std::string>();
      SCOPED_TRACE(id);
      const auto& row = results.at(id);
      // The same network, to the last bit of what it computes on each of its chips …
      EXPECT_EQ(text("one/chips/" + id + "/weights.safetensors"),
                text("one/chips/" + first + "/weights.safetensors"));
      EXPECT_TRUE(logits("one", id, "functional") == functional);
      EXPECT_TRUE(logits("one", id, "cycle") == functional);
      for (const char* const column : {"decision_accuracy", "test_accuracy", "test_accuracy_fault_free"})
        EXPECT_EQ(row.at(column), results.at(first).at(column)) << column;
      EXPECT_EQ(row.at("test_accuracy"), row.at("test_accuracy_fault_free"));
      // … with the bypass that is the chip's own.
      const auto deployed =
          workloads::read_safetensors(folder_ / ("one/chips/" + id + "/deployed.safetensors"));
      const auto& bypass = std::get<workloads::Tensor<std::uint8_t>>(deployed.tensors.at("bypass"));
      std::set<std::pair<int, int>> bypassed;
      for (int pe = 0; pe < 64; ++pe)
        if (bypass.data[static_cast<std::size_t>(pe)] != 0) bypassed.emplace(pe / 8, pe % 8);
      EXPECT_EQ(bypassed, lot.at(id));
      EXPECT_EQ(row.at("group"), group["id"].as<std::string>());
      // What the group took stands with its first chip; every chip is checked three times.
      EXPECT_EQ(row.at("steps_spent"), id == first ? group["planned_steps"].as<std::string>() : "0");
      EXPECT_NEAR(number(row.at("check_steps")), 2 * 250.0 / (3 * 32), 0.006);
    }
    saved += group["saving"].as<double>();
  }
  EXPECT_EQ(results.at("A4").at("group"), "");
  const YAML::Node summary = YAML::Load(text("one/summary.yaml"))["summary"];
  EXPECT_NEAR(summary["groups"]["saving"].as<double>(), saved, 0.1);
  EXPECT_EQ(summary["groups"]["groups"].as<std::size_t>(), planned["groups"].size());
  // The comparison has the policy with and without groups, on the same chips.
  const YAML::Node with = summary["compare"][1], without = summary["compare"][0];
  EXPECT_EQ(with["policy"].as<std::string>(), "max, grouped");
  EXPECT_EQ(without["policy"].as<std::string>(), "max");
  EXPECT_NEAR(without["arithmetic_steps"].as<double>() - with["arithmetic_steps"].as<double>(), saved, 0.2);
  EXPECT_EQ(with["total_steps"].as<double>(), summary["planned_steps"].as<double>());
}

// The union is repaired anew, with channels moved around all of its PEs; what chips were repaired by
// themselves for, before the plan, stays counted.
TEST_F(ReduceGroups, AGroupIsRepairedOnce) {
  all("a", "--set 'campaign.repair={mapping: {}, compensation: {images: 300}}'");
  const YAML::Node planned = plan("a");
  const Table results = table("a/results.csv");
  double saved = 0;
  for (const YAML::Node& group : planned["groups"]) {
    const auto first = group["chips"][0].as<std::string>();
    const std::string functional = logits("a", first, "functional");
    for (const YAML::Node& member : group["chips"]) {
      const auto id = member.as<std::string>();
      SCOPED_TRACE(id);
      EXPECT_TRUE(logits("a", id, "functional") == functional);
      EXPECT_TRUE(logits("a", id, "cycle") == functional);
      const double repair = number(results.at(id).at("compensation_steps"));
      EXPECT_GT(repair, 4);
      if (id == first)
        EXPECT_GT(repair, 8);
      else
        EXPECT_LT(repair, 6);
    }
    saved += group["saving"].as<double>();
  }
  ASSERT_GE(planned["groups"].size(), 2u);
  // What a union's repair costs was told from characterised maps; it came close.
  const YAML::Node compare = YAML::Load(text("a/summary.yaml"))["summary"]["compare"];
  EXPECT_NEAR(compare[0]["arithmetic_steps"].as<double>() - compare[1]["arithmetic_steps"].as<double>(),
              saved, 2);
}

TEST_F(ReduceGroups, ADeletedOrDamagedNetworkIsMadeAgain) {
  all("a");
  all("b");
  std::filesystem::remove(folder_ / "b/tasks/group/group-0001.csv");
  common::write_file_atomic(folder_ / "b/tasks/group/group-0002.safetensors", "damaged");
  std::filesystem::remove(folder_ / "b/tasks/deliver/A1.csv");
  std::filesystem::remove(folder_ / "b/chips/B1/weights.safetensors");
  all("b");
  test::expect_same_campaigns(folder_ / "a", folder_ / "b");
}

TEST_F(ReduceGroups, AnInterruptedGroupGoesOnFromItsCheckpoint) {
  for (const std::string policy : {"max", "adaptive"}) {
    const std::string set = "campaign.policy={name: " + policy + "}", a = policy + "_a", b = policy + "_b";
    all(a, "--set '" + set + "'");
    const pid_t process = start({"reduce", "all", "--campaign", "campaign.yaml", "--out", b, "--workers", "2",
                                 "--threads", "1", "--quiet", "--checkpoint-seconds", "0", "--set", set});
    ASSERT_TRUE(wait_for([&] { return !files_now(b + "/tasks/group", ".checkpoint").empty(); }, process))
        << text("log");
    ::kill(process, SIGKILL);
    end_of(process);
    const Outcome resumed = run("campaign resume " + b + " --log-level info --workers 2 --threads 1 --quiet");
    EXPECT_EQ(resumed.status, 0) << resumed.text;
    EXPECT_THAT(resumed.text,
                testing::ContainsRegex(b + "/tasks/group/group[^\n]*: going on from step [1-9]"));
    test::expect_same_campaigns(folder_ / a, folder_ / b);
  }
}

// A group's network and its chips' deliveries are tasks like any other.
TEST_F(ReduceGroups, WorkDoesSingleTasksOfGroups) {
  all("a");
  all("b");
  std::filesystem::remove(folder_ / "b/tasks/group/group-0002.csv");
  std::filesystem::remove(folder_ / "b/tasks/deliver/B2.csv");
  const Outcome early = run("campaign work b --phase deliver --task B2");
  EXPECT_EQ(early.status, 2);
  EXPECT_THAT(early.text, HasSubstr("group-0002 is not retrained yet"));
  const Outcome collected = run("campaign collect b --quiet");
  EXPECT_EQ(collected.status, 1);
  EXPECT_THAT(collected.text,
              HasSubstr("group: 1 of 2 tasks are missing:\n  retraining of group-0002 (3 chips)"));
  EXPECT_EQ(run("campaign work b --phase group --task group-0002").status, 0);
  EXPECT_EQ(run("campaign work b --phase deliver --task B2").status, 0);
  test::expect_same_campaigns(folder_ / "a", folder_ / "b");
  EXPECT_THAT(run("campaign status b").text, testing::ContainsRegex("deliver +6 of 6"));
}

TEST_F(ReduceGroups, AdaptiveClimbsOnceForAGroup) {
  all("a", "--set 'campaign.policy={name: adaptive}' --set 'campaign.compare={policies: [adaptive]}'");
  const Table results = table("a/results.csv");
  int groups = 0;
  for (const YAML::Node& group : plan("a")["groups"]) {
    ++groups;
    const auto first = group["chips"][0].as<std::string>();
    EXPECT_GE(number(results.at(first).at("steps_spent")), group["planned_steps"].as<double>());
    for (std::size_t i = 1; i < group["chips"].size(); ++i) {
      const auto& row = results.at(group["chips"][i].as<std::string>());
      EXPECT_EQ(row.at("steps_spent"), "0");
      EXPECT_EQ(row.at("test_accuracy"), results.at(first).at("test_accuracy"));
      EXPECT_LT(number(row.at("check_steps")), number(results.at(first).at("check_steps")));
    }
  }
  EXPECT_GE(groups, 1);
}

TEST_F(ReduceGroups, AnEditedGroupIsObeyedAndAWrongOneRefused) {
  const std::string options = " --campaign campaign.yaml --out a --workers 2 --threads 1 --quiet";
  ASSERT_EQ(run("reduce characterize" + options).status, 0);
  ASSERT_EQ(run("reduce plan" + options).status, 0);
  const std::string made = text("a/plan.yaml");
  const YAML::Node group = plan("a")["groups"][0];
  const auto steps = group["planned_steps"].as<std::string>();
  const auto replaced = [&](const std::string& from, const std::string& to) {
    std::string edited = made;
    const std::size_t at = edited.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    return at == std::string::npos ? edited : edited.replace(at, from.size(), to);
  };
  write("a/plan.yaml", replaced("planned_steps: " + steps, "planned_steps: 7"));
  ASSERT_EQ(run("reduce retrain" + options).status, 0);
  EXPECT_EQ(table("a/results.csv").at(group["chips"][0].as<std::string>()).at("steps_spent"), "7");

  write("a/plan.yaml", replaced("      group: group-0001\n", ""));
  const Outcome outcome = run("reduce retrain" + options);
  EXPECT_EQ(outcome.status, 2);
  EXPECT_THAT(outcome.text, HasSubstr("group 'group-0001' lists ["));
  EXPECT_THAT(outcome.text, HasSubstr("run 'kintsugi reduce plan' again"));
}

TEST_F(ReduceGroups, WithoutTheKeyNothingIsSaidOfGroups) {
  std::string campaign = test::kGroupedCampaign;
  campaign.erase(campaign.find("  group:"), campaign.find("  compare:") - campaign.find("  group:"));
  write("campaign.yaml", campaign);
  all("a");
  for (const char* const name : {"plan.yaml", "results.csv", "summary.yaml", "compare.csv", "manifest.yaml"})
    EXPECT_THAT(text(std::string("a/") + name), Not(HasSubstr("group"))) << name;
  EXPECT_FALSE(std::filesystem::exists(folder_ / "a/tasks/group"));
}

}  // namespace
}  // namespace kintsugi

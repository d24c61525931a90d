// `kintsugi reduce` from the outside, on a campaign of a few seconds: an 8×8 chip, an MLP of 240 weights, and
// images made here. What matters: the same bytes however the work was spread, interrupted and resumed.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <map>
#include <thread>

#include "common/files.h"
#include "tests/cli/reduce_campaign.h"
#include "tests/support/run_shell.h"
#include "tests/support/tiny_campaign.h"
#include "workloads/npy.h"

namespace kintsugi {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

using test::Outcome;

constexpr auto kResults = {"manifest.yaml", "weights.safetensors",  "deployed.safetensors",
                           "plan.yaml",     "characterization.csv", "resilience.csv",
                           "results.csv",   "compare.csv",          "summary.yaml",
                           "compare.svg",   "timings.csv"};

constexpr const char* kNetwork = test::kTinyMlp;

// A sum, a normalisation and a result with two readers.
constexpr const char* kResidualNetwork = R"(network:
  name: tiny_residual
  input: {channels: 1, height: 4, width: 4}
  layers:
    - {type: conv2d, name: c1, out_channels: 6, kernel: 3, padding: 1, bias: false}
    - {type: batch_norm, name: b1}
    - {type: relu}
    - {type: local_response_norm, name: n1, size: 3, alpha: 0.5}
    - {type: conv2d, name: c2, out_channels: 6, kernel: 3, padding: 1, bias: false}
    - {type: batch_norm, name: b2}
    - {type: add, name: a1, inputs: [b2, n1]}
    - {type: relu}
    - {type: max_pool, kernel: 2}
    - {type: flatten}
    - {type: linear, name: fc, out_features: 3}
  loss: softmax_cross_entropy
)";

constexpr const char* kCampaign = test::kReduceCampaign;

using Reduce = test::ReduceCampaign;

TEST_F(Reduce, RepairsAResidualNetwork) {
  common::write_file_atomic(folder_ / "network.yaml", kResidualNetwork);
  const std::string less =
      "--quiet --set campaign.characterize.fault_rates=[0.1,0.6] --set campaign.chips.sample.count=4 ";
  const Outcome one = reduce("all", "a", less + "--workers 1 --threads 1");
  ASSERT_EQ(one.status, 0) << one.text;
  // Interrupted between the steps: the second process finds the scales in the campaign's folder.
  ASSERT_EQ(reduce("characterize", "b", less + "--workers 2 --threads 2").status, 0);
  const Outcome two = reduce("all", "b", less + "--workers 2 --threads 1");
  ASSERT_EQ(two.status, 0) << two.text;
  expect_same("a", "b");
  EXPECT_GE(repaired_chips_that_run("a"), 2);
}

// Mapping, compensation and batch-norm recalibration come before retraining, save chips it would be needed
// for, and what is delivered runs as reported.
TEST_F(Reduce, RepairsBeforeItRetrains) {
  const auto count = [](const std::string& text, const std::string& what) {
    int found = 0;
    for (std::size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + 1)) ++found;
    return found;
  };
  int networks = 0, repaired = 0;
  for (const char* network : {kNetwork, kResidualNetwork}) {
    common::write_file_atomic(folder_ / "network.yaml", network);
    const std::string name = networks++ == 0 ? "chain" : "residual";
    const std::string less = "--quiet --set campaign.characterize.fault_rates=[0.1,0.6] ";
    common::write_file_atomic(folder_ / "campaign.yaml", kCampaign);
    ASSERT_EQ(reduce("all", name + "_plain", less).status, 0);
    common::write_file_atomic(folder_ / "campaign.yaml",
                              std::string(kCampaign) +
                                  "  repair: {mapping: {saliency: output}, compensation: {images: 300}" +
                                  (network == kNetwork ? "}\n" : ", batch_norm: {images: 128}}\n"));
    const Outcome one = reduce("all", name, less + "--workers 1 --threads 1");
    ASSERT_EQ(one.status, 0) << one.text;
    ASSERT_EQ(reduce("all", name + "_again", less + "--workers 2 --threads 2").status, 0);
    expect_same(name, name + "_again");
    const std::string plan = text(name + "/plan.yaml"), plain = text(name + "_plain/plan.yaml");
    EXPECT_EQ(count(plain, "plan: repair"), 0);
    EXPECT_LE(count(plan, "plan: retrain"), count(plain, "plan: retrain"));
    EXPECT_EQ(count(plan, "repaired: {correct:"), 6);
    repaired += count(plan, "plan: repair");
    EXPECT_GE(repaired_chips_that_run(name), 2);
    // Repaired, a network is still what its chip computes cycle by cycle.
    int clocked = 0;
    for (const auto& entry : fs::directory_iterator(folder_ / name / "chips"))
      if (clocked < 2 && fs::exists(entry.path() / "deployed.safetensors")) {
        expect_same_outputs(name, entry.path().filename().string(), {"functional", "cycle"}, false);
        ++clocked;
      }
    EXPECT_EQ(clocked, 2);
    // The plan reads back: a step by itself goes on from it.
    const Outcome again = reduce("compare", name, less);
    EXPECT_EQ(again.status, 0) << again.text;
    // A folder without repair is another campaign.
    EXPECT_THAT(reduce("all", name + "_plain", less).text, HasSubstr("repair.mapping"));
  }
  EXPECT_GE(repaired, 1);
  // Float weights are in the network's own order and size, wherever its channels were put.
  for (const auto& entry : fs::directory_iterator(folder_ / "chain" / "chips")) {
    if (!fs::exists(entry.path() / "weights.safetensors")) continue;
    const std::string weights = common::read_file(entry.path() / "weights.safetensors");
    EXPECT_THAT(weights.substr(0, 1000), HasSubstr("\"shape\":[12,16]"));
    EXPECT_THAT(weights.substr(0, 1000), HasSubstr("\"shape\":[3,12]"));
  }
}

TEST_F(Reduce, LeavesTheSameBytesForAnyWorkersAndThreads) {
  const Outcome one = reduce("all", "a", "--workers 1 --threads 1");
  ASSERT_EQ(one.status, 0) << one.text;
  EXPECT_THAT(one.text, HasSubstr("Policies compared"));
  for (const char* name : kResults) EXPECT_TRUE(fs::exists(folder_ / "a" / name)) << name;
  const Outcome two = reduce("all", "b", "--workers 2 --threads 1 --quiet");
  ASSERT_EQ(two.status, 0) << two.text;
  EXPECT_EQ(two.text, "");
  ASSERT_EQ(reduce("all", "c", "--workers 2 --threads 2 --quiet").status, 0);
  expect_same("a", "b");
  expect_same("a", "c");
  EXPECT_NE(text("a/results.csv"), "");

  // The seed is not decoration.
  ASSERT_EQ(reduce("all", "d", "--workers 2 --threads 1 --quiet --seed 2").status, 0);
  EXPECT_NE(text("a/plan.yaml"), text("d/plan.yaml"));
  EXPECT_NE(text("a/weights.safetensors"), text("d/weights.safetensors"));
}

TEST_F(Reduce, StepByStepGivesWhatAllGives) {
  const std::string how = "--workers 2 --threads 1 --quiet";
  ASSERT_EQ(reduce("all", "a", how).status, 0);
  for (const char* step : {"characterize", "plan", "retrain", "compare"}) {
    const Outcome outcome = reduce(step, "b", how);
    ASSERT_EQ(outcome.status, 0) << step << ": " << outcome.text;
    if (std::string(step) == "retrain") {
      EXPECT_EQ(text("b/results.csv"), text("a/results.csv"));
    }
  }
  expect_same("a", "b");
}

TEST_F(Reduce, StepsAskForTheirPredecessors) {
  EXPECT_THAT(reduce("plan", "a").text, HasSubstr("run 'kintsugi reduce characterize'"));
  EXPECT_FALSE(fs::exists(folder_ / "a"));  // nothing that would pin the settings of a campaign
  ASSERT_EQ(reduce("characterize", "a", "--quiet").status, 0);
  const Outcome outcome = reduce("retrain", "a");
  EXPECT_EQ(outcome.status, 2);
  EXPECT_THAT(outcome.text, HasSubstr("run 'kintsugi reduce plan'"));
}

TEST_F(Reduce, RecomputesOnlyDeletedTasks) {
  const std::string how = "--workers 2 --threads 1 --quiet";
  ASSERT_EQ(reduce("all", "a", how).status, 0);
  const auto before = bytes("a");
  std::map<fs::path, fs::file_time_type> kept;
  int deleted = 0;
  const auto files = task_files("a");
  ASSERT_GT(files.size(), 12u);
  for (std::size_t i = 0; i < files.size(); ++i) {
    if (i % 2 == 0) {
      fs::remove(files[i]);
      ++deleted;
    } else {
      kept[files[i]] = fs::last_write_time(files[i]);
    }
  }
  const Outcome again = reduce("all", "a", "--workers 1 --threads 2");
  ASSERT_EQ(again.status, 0) << again.text;
  EXPECT_THAT(again.text, HasSubstr("characterize: 3 of 6 tasks were done before"));
  EXPECT_EQ(bytes("a"), before);
  for (const auto& [file, time] : kept)
    EXPECT_TRUE(fs::last_write_time(file) == time) << file << " was made again";
  EXPECT_EQ(task_files("a").size(), files.size()) << deleted;
}

TEST_F(Reduce, DamagedTaskFileIsMadeAgain) {
  const std::string how = "--workers 2 --threads 1 --quiet";
  ASSERT_EQ(reduce("all", "a", how).status, 0);
  const auto before = bytes("a");
  common::write_file_atomic(folder_ / "a/tasks/characterize/rate_0.2_repeat_1.csv", "steps,correct\n0,");
  ASSERT_EQ(reduce("all", "a", how).status, 0);
  EXPECT_TRUE(bytes("a") == before);
}

// Killed at several moments, coordinator first; whatever files were there by then, the end is the same.
TEST_F(Reduce, SurvivesKill9) {
  const std::string how = "--workers 2 --threads 1 --quiet";
  ASSERT_EQ(reduce("all", "a", how).status, 0);
  int killed = 0;
  for (const std::size_t wanted : {3, 6, 11, 15}) {
    const pid_t child = fork();
    if (child == 0) {
      const int null = ::open("/dev/null", O_WRONLY);
      ::dup2(null, 1);
      ::dup2(null, 2);
      if (::chdir(folder_.path().c_str()) != 0) _exit(9);
      ::execl(KINTSUGI_BINARY, "kintsugi", "reduce", "all", "--campaign", "campaign.yaml", "--out", "b",
              "--workers", "2", "--threads", "1", "--quiet", nullptr);
      _exit(9);
    }
    int status = 0;
    for (;;) {
      const bool ready = fs::exists(folder_ / "b/tasks") && task_files_now("b") >= wanted;
      if (ready) ::kill(child, SIGKILL);
      if (::waitpid(child, &status, ready ? 0 : WNOHANG) == child) break;
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    killed += WIFSIGNALED(status) ? 1 : 0;
  }
  EXPECT_GE(killed, 2);
  const Outcome resumed = reduce("all", "b", how);
  ASSERT_EQ(resumed.status, 0) << resumed.text;
  expect_same("a", "b");
}

TEST_F(Reduce, RunReproducesResults) {
  ASSERT_EQ(reduce("all", "a", "--workers 2 --threads 1 --quiet").status, 0);
  EXPECT_GE(repaired_chips_that_run("a"), 3);
}

TEST_F(Reduce, RefusesToGoOnWithOtherInputs) {
  const std::string how = "--workers 2 --threads 1 --quiet";
  ASSERT_EQ(reduce("characterize", "a", how).status, 0);
  const Outcome changed = reduce("all", "a", how + " --set campaign.characterize.max_steps=70");
  EXPECT_EQ(changed.status, 2);
  EXPECT_THAT(changed.text, HasSubstr("this folder holds a campaign made from other inputs"));
  EXPECT_THAT(changed.text, HasSubstr("characterize.max_steps: \"60\" in the folder, \"70\" now"));
  EXPECT_THAT(changed.text, HasSubstr("choose another --out"));
  EXPECT_THAT(reduce("all", "a", how + " --seed 7").text, HasSubstr("seed: \"1\" in the folder, \"7\" now"));

  // A single changed pixel is another data set.
  auto images = workloads::read_npy<std::uint8_t>(folder_ / "x.npy");
  images.data[5] ^= 1;
  workloads::write_npy(folder_ / "x.npy", images);
  EXPECT_THAT(reduce("all", "a", how).text, HasSubstr("dataset.training"));
  images.data[5] ^= 1;
  workloads::write_npy(folder_ / "x.npy", images);

  // Other weights under the finished tasks.
  std::string weights = text("a/weights.safetensors");
  weights.back() = static_cast<char>(weights.back() ^ 1);
  common::write_file_atomic(folder_ / "a/weights.safetensors", weights);
  const Outcome other = reduce("plan", "a", how);
  EXPECT_EQ(other.status, 2);
  EXPECT_THAT(other.text, HasSubstr("not the weights that this folder's tasks were run with"));
}

TEST_F(Reduce, ObeysAnEditedPlan) {
  const std::string how = "--workers 2 --threads 1 --quiet";
  ASSERT_EQ(reduce("characterize", "a", how).status, 0);
  ASSERT_EQ(reduce("plan", "a", how).status, 0);
  std::string plan = text("a/plan.yaml");
  const std::size_t begin = plan.find("      plan: ");
  const std::size_t end = plan.find("      planned_epochs", begin);
  plan.replace(begin, end - begin, "      plan: retrain\n      planned_steps: 7\n");
  common::write_file_atomic(folder_ / "a/plan.yaml", plan);
  ASSERT_EQ(reduce("retrain", "a", how).status, 0);
  common::Diagnostics diagnostics;
  const auto rows = common::parse_csv(text("a/results.csv"), "results.csv", diagnostics);
  EXPECT_EQ(rows[1].cells[3].text, "retrain");
  EXPECT_EQ(rows[1].cells[4].text, "7");
  EXPECT_EQ(rows[1].cells[7].text, "7");

  // Killed between writing another plan's weights and its result: the result of this plan, if it were still
  // there, would vouch for the wrong weights. So it goes first.
  const std::string weights = "a/chips/" + rows[1].cells[0].text + "/weights.safetensors";
  const std::string result = "a/tasks/retrain/" + rows[1].cells[0].text + ".csv";
  ASSERT_TRUE(fs::exists(folder_ / result));
  const std::string right = text(weights);
  std::string other = plan;
  other.replace(other.find("planned_steps: 7"), 16, "planned_steps: 9");
  common::write_file_atomic(folder_ / "a/plan.yaml", other);
  fs::remove(folder_ / weights);
  fs::create_directories(folder_ / weights / "in the way");  // writing the weights fails
  EXPECT_NE(reduce("retrain", "a", how).status, 0);
  EXPECT_FALSE(fs::exists(folder_ / result));
  fs::remove_all(folder_ / weights);
  common::write_file_atomic(folder_ / "a/plan.yaml", plan);
  ASSERT_EQ(reduce("retrain", "a", how).status, 0);
  EXPECT_EQ(text(weights), right);
}

TEST_F(Reduce, LeakAsPublishedDecidesOnTheTestSetAndSaysSo) {
  const Outcome outcome = reduce("all", "a", "--workers 2 --threads 1 --set campaign.leak_as_published=true");
  ASSERT_EQ(outcome.status, 0) << outcome.text;
  std::size_t said = 0;
  for (std::size_t at = 0; (at = outcome.text.find("decided on the test set", at)) != std::string::npos; ++at)
    ++said;
  EXPECT_EQ(said, 4u) << outcome.text;  // resilience, plan, chips, policies
  EXPECT_THAT(text("a/plan.yaml"), HasSubstr("decided_on: test"));
  EXPECT_THAT(text("a/plan.yaml"), HasSubstr("baseline: {images: 250,"));  // a sixth of 1,500
  EXPECT_THAT(text("a/summary.yaml"), HasSubstr("decided_on: test"));
  for (const char* table : {"characterization.csv", "resilience.csv", "results.csv", "compare.csv"}) {
    const std::string csv = text(std::string("a/") + table);
    EXPECT_TRUE(csv.substr(0, csv.find('\n')).ends_with(",decided_on")) << table;
    EXPECT_EQ(
        std::count(csv.begin(), csv.end(), '\n'),
        1 +
            [&] {
              std::int64_t lines = 0;
              for (std::size_t at = 0;
                   (at = csv.find(",test (leak_as_published)\n", at)) != std::string::npos; ++at)
                ++lines;
              return lines;
            }())
        << table;
  }
}

TEST_F(Reduce, EnforceAnswersNo) {
  // 100 % cannot be met: every rate is censored, every chip rejected, so nothing fails; a fixed policy
  // delivers.
  const std::string how =
      "--workers 2 --threads 1 --quiet --enforce --set 'campaign.constraint={accuracy: 1}'";
  EXPECT_EQ(reduce("all", "a", how).status, 0);
  EXPECT_THAT(text("a/plan.yaml"),
              HasSubstr("no retraining amount met the constraint at any characterised fault rate"));
  EXPECT_EQ(reduce("all", "b", how + " --set 'campaign.policy={name: fixed, steps: 3}'").status, 1);
}

TEST_F(Reduce, RefusesWhatACampaignCannotDo) {
  const auto refused = [&](const std::string& more) {
    const Outcome outcome = reduce("all", "a", more);
    EXPECT_EQ(outcome.status, 2) << outcome.text;
    return outcome.text;
  };
  EXPECT_THAT(refused("--set 'campaign.retrain.schedule={name: cosine}'"),
              HasSubstr("every amount is a retraining run of its own; list the amounts"));
  EXPECT_THAT(refused("--set 'campaign.repair={batch_norm: {images: 100}}'"),
              HasSubstr("'repair.batch_norm' recalibrates batch-norm, and the network 'tiny_mlp' has none"));
  EXPECT_THAT(refused("--set chip.array.bypass=none"), HasSubstr("Reduce retrains around bypassed PEs"));
  EXPECT_THAT(refused("--set chip.fault_map=x.yaml"), HasSubstr("remove it from the chip description"));
  EXPECT_THAT(refused("--set 'campaign.chips={fault_maps: \"none/*.yaml\"}'"),
              HasSubstr("no fault map matches"));
  EXPECT_THAT(refused("--set campaign.dataset.decision_images=1240"),
              HasSubstr("a mini-batch of 32 does not fit"));
  EXPECT_THAT(refused("--workers 0"), HasSubstr("--workers is '0'"));
  const Outcome step = run("reduce compre --campaign campaign.yaml --out a");
  EXPECT_EQ(step.status, 2);
  EXPECT_THAT(step.text, HasSubstr("there is no step 'compre', did you mean 'compare'?"));
  EXPECT_FALSE(fs::exists(folder_ / "a"));
}

}  // namespace
}  // namespace kintsugi

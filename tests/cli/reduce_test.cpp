// `kintsugi reduce` from the outside, on a campaign of a few seconds: an 8×8 chip, an MLP of 240 weights, and
// images made here. What matters: the same bytes however the work was spread, interrupted and resumed.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <map>
#include <thread>

#include "common/csv.h"
#include "common/diagnostics.h"
#include "common/files.h"
#include "tests/support/run_shell.h"
#include "tests/support/temporary_folder.h"
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

constexpr const char* kCampaign = R"(campaign:
  chip: chip.yaml
  network: network.yaml
  dataset: {images: x.npy, labels: y.npy, decision_images: 250}
  pretrain: {epochs: 4, batch: 32}
  retrain: {batch: 32, learning_rate: 0.02}
  constraint: {accuracy_drop: 0.02}
  characterize: {fault_rates: [0.05, 0.2, 0.4], repeats: 2, max_steps: 60, evaluate_every_steps: 10}
  chips: {sample: {count: 6, fault_rate: {uniform: [0.02, 0.6]}}}
  compare: {fixed_steps: [15, 60]}
)";

class Reduce : public testing::Test {
 protected:
  void SetUp() override { test::write_tiny_campaign(folder_.path(), kCampaign); }

  Outcome run(const std::string& arguments) const {
    return test::run_shell("cd '" + folder_.path().string() + "' && '" KINTSUGI_BINARY "' " + arguments);
  }
  Outcome reduce(const std::string& step, const std::string& out, const std::string& more = "") const {
    return run("reduce " + step + " --campaign campaign.yaml --out " + out + " " + more);
  }
  std::string text(const std::string& name) const { return common::read_file(folder_ / name); }

  std::map<std::string, std::string> bytes(const std::string& out) const {
    return test::campaign_bytes(folder_ / out);
  }
  void expect_same(const std::string& a, const std::string& b) const {
    test::expect_same_campaigns(folder_ / a, folder_ / b);
  }
  std::vector<fs::path> task_files(const std::string& out) const {
    std::vector<fs::path> files;
    for (const auto& entry : fs::recursive_directory_iterator(folder_ / out / "tasks"))
      if (entry.is_regular_file() && !test::is_timing(entry.path())) files.push_back(entry.path());
    std::sort(files.begin(), files.end());
    return files;
  }

  // While another process writes there: files may come and go.
  std::size_t task_files_now(const std::string& out) const {
    std::size_t files = 0;
    std::error_code code;
    for (fs::recursive_directory_iterator it(folder_ / out / "tasks", code), end; !code && it != end;
         it.increment(code))
      files += it->path().filename().string().starts_with('.') || test::is_timing(it->path()) ? 0 : 1;
    return files;
  }

  // `kintsugi run` on a repaired chip's files gives the accuracy that results.csv reports, to the last image.
  // Returns how many chips were compared.
  int repaired_chips_that_run(const std::string& out) const {
    common::Diagnostics diagnostics;
    const auto rows = common::parse_csv(text(out + "/results.csv"), "results.csv", diagnostics);
    std::map<std::string, std::size_t> column;
    for (std::size_t i = 0; i < rows[0].cells.size(); ++i) column[rows[0].cells[i].text] = i;
    int compared = 0;
    for (std::size_t r = 1; r < rows.size(); ++r) {
      const auto& cells = rows[r].cells;
      const std::string id = cells[column["chip"]].text;
      const std::string expected = cells[column["test_accuracy"]].text;
      if (expected.empty()) {
        EXPECT_FALSE(fs::exists(folder_ / out / "chips" / id / "deployed.safetensors")) << id;
        continue;
      }
      common::write_file_atomic(folder_ / "workload.yaml",
                                "workload:\n  network: network.yaml\n  weights: " + out + "/chips/" + id +
                                    "/deployed.safetensors\n  dataset: {images: " + out +
                                    "/test/images.npy, labels: " + out + "/test/labels.npy}\n");
      const Outcome outcome = run("run --chip chip.yaml --workload workload.yaml --fault-map " + out +
                                  "/chips/" + id + "/fault_map.yaml --out r_" + id);
      EXPECT_EQ(outcome.status, 0) << outcome.text;
      std::string found;
      for (const auto& entry : fs::directory_iterator(folder_ / ("r_" + id)))
        found += common::read_file(entry.path());
      EXPECT_THAT(found, HasSubstr("int8_this_chip: " + expected + "\n")) << id;
      ++compared;
    }
    return compared;
  }

  // What is delivered for a chip gives the same logits on it at every fidelity; `as_without`: and on a chip
  // without faults.
  void expect_same_outputs(const std::string& out, const std::string& id,
                           const std::vector<std::string>& fidelities, bool as_without) const {
    const std::string chip = out + "/chips/" + id;
    common::write_file_atomic(folder_ / "workload.yaml",
                              "workload:\n  network: network.yaml\n  weights: " + chip +
                                  "/deployed.safetensors\n  dataset: {images: " + out +
                                  "/test/images.npy, labels: " + out + "/test/labels.npy}\n  batch: 8\n");
    std::string outputs;
    for (std::size_t i = 0; i < fidelities.size() + (as_without ? 1 : 0); ++i) {
      const bool faulty = i < fidelities.size();
      const std::string to = "logits_" + id + "_" + std::to_string(i);
      const Outcome outcome =
          run("run --chip chip.yaml --workload workload.yaml --out " + to +
              (faulty ? " --fidelity " + fidelities[i] + " --fault-map " + chip + "/fault_map.yaml" : ""));
      ASSERT_EQ(outcome.status, 0) << outcome.text;
      const std::string found = text(to + "/logits.npy");
      if (outputs.empty()) outputs = found;
      EXPECT_TRUE(found == outputs) << id << ", " << (faulty ? fidelities[i] : "without faults");
    }
  }

  test::TemporaryFolder folder_;
};

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

// A sampled lot is, map by map, what `kintsugi fault-map sample` draws with the same options and seed.
TEST_F(Reduce, SamplesTheChipsThatFaultMapSampleDraws) {
  const std::pair<const char*, const char*> kinds[] = {
      {"{count: 3, fault_rate: {uniform: [0.1, 0.4]}, model: clustered, clustering: 0.5, block: 4, sites: "
       "area}",
       "--count 3 --rate-range 0.1,0.4 --rate-distribution uniform --model clustered --clustering 0.5 "
       "--block 4 "
       "--sites area"},
      {"{count: 2, faults: 9, sites: {multiplier: 5, adder: 3}, escapes: 1}",
       "--count 2 --faults 9 --sites multiplier:5,adder:3 --escapes 1"},
      {"{count: 2, fault_rate: 0.2, model: columns}", "--count 2 --rate 0.2 --model columns"},
      {"{count: 4, fault_rate: {log_uniform: [0.01, 0.3]}, model: radial, edge_factor: 9, die_size: 0.3}",
       "--count 4 --rate-range 0.01,0.3 --model radial --edge-factor 9 --die-size 0.3"}};
  int kind = 0;
  for (const auto& [campaign, options] : kinds) {
    SCOPED_TRACE(options);
    const std::string number = std::to_string(++kind), out = "lot_" + number, maps = "maps_" + number;
    const std::string how =
        "--seed 5 --quiet --workers 1 --threads 1 --set campaign.pretrain.epochs=0 --set "
        "campaign.characterize.fault_rates=[0.5] --set campaign.characterize.repeats=1 "
        "--set campaign.characterize.max_steps=10 --set 'campaign.chips={sample: " +
        std::string(campaign) + "}'";
    ASSERT_EQ(reduce("characterize", out, how).status, 0);
    const Outcome plan = reduce("plan", out, how);
    ASSERT_EQ(plan.status, 0) << plan.text;
    const Outcome sample = run("fault-map sample --chip chip.yaml --seed 5 --out " + maps + " " + options);
    ASSERT_EQ(sample.status, 0) << sample.text;
    int chips = 0;
    for (const auto& entry : fs::directory_iterator(folder_ / out / "chips")) {
      EXPECT_EQ(common::read_file(entry.path() / "fault_map.yaml"),
                text(maps + "/" + entry.path().filename().string() + ".yaml"));
      ++chips;
    }
    EXPECT_EQ(chips, kind == 1 ? 3 : kind == 4 ? 4 : 2);
  }
}

// Maps like the lot's: another curve than from i.i.d. maps of the same rates, and the same one again.
TEST_F(Reduce, CharacterizesOnMapsLikeTheLots) {
  const std::string how =
      "--quiet --workers 2 --threads 1 --set 'campaign.chips={sample: {count: 1, fault_rate: 0.2, model: "
      "columns, sites: area}}' ";
  ASSERT_EQ(reduce("characterize", "a", how).status, 0);
  const std::string like = how + "--set campaign.characterize.maps=like_chips";
  ASSERT_EQ(reduce("characterize", "b", like).status, 0);
  ASSERT_EQ(reduce("characterize", "c", like).status, 0);
  EXPECT_NE(text("a/characterization.csv"), text("b/characterization.csv"));
  expect_same("b", "c");
  EXPECT_THAT(reduce("characterize", "a", like).text, HasSubstr("characterize.maps"));
}

// Faults in psum and activation registers: what keeps away from them is delivered, computes on its own chip
// what a fault-free chip computes, at every fidelity, and says what was dropped.
TEST_F(Reduce, KeepsAwayFromWhatNoBypassHides) {
  common::write_file_atomic(folder_ / "campaign.yaml",
                            std::string(kCampaign) +
                                "  repair: {mapping: {}, compensation: {images: 300}, drop_unbypassable: "
                                "{max_cycle_factor: 1.35}}\n");
  const std::string less =
      "--quiet --set campaign.characterize.fault_rates=[0.1,0.4] --set campaign.characterize.maps=like_chips "
      "--set 'campaign.chips={sample: {count: 8, fault_rate: {uniform: [0.03, 0.4]}, sites: {multiplier: 1, "
      "psum_register: 1, activation_register: 1}}}' ";
  const Outcome one = reduce("all", "a", less + "--workers 1 --threads 1");
  ASSERT_EQ(one.status, 0) << one.text;
  ASSERT_EQ(reduce("all", "b", less + "--workers 2 --threads 2").status, 0);
  expect_same("a", "b");
  EXPECT_GE(repaired_chips_that_run("a"), 3);
  const std::string plan = text("a/plan.yaml"), summary = text("a/summary.yaml");
  EXPECT_THAT(plan, HasSubstr("dropped: {columns: "));
  EXPECT_THAT(plan, HasSubstr("of 3 outputs find a column without faults"));
  EXPECT_THAT(plan, HasSubstr("plan: reject"));
  EXPECT_THAT(summary, HasSubstr("  dropped: {chips: 8, impossible: "));
  common::Diagnostics diagnostics;
  const auto rows = common::parse_csv(text("a/results.csv"), "results.csv", diagnostics);
  std::map<std::string, std::size_t> column;
  for (std::size_t i = 0; i < rows[0].cells.size(); ++i) column[rows[0].cells[i].text] = i;
  int kept = 0, slower = 0;
  for (std::size_t r = 1; r < rows.size(); ++r) {
    const auto cell = [&](const char* name) { return rows[r].cells[column.at(name)].text; };
    if (cell("plan") == "reject" || cell("plan") == "ship") continue;
    SCOPED_TRACE(cell("chip"));
    EXPECT_EQ(cell("test_accuracy"), cell("test_accuracy_fault_free"));
    ++kept;
    slower += cell("cycle_factor") != "1";
    expect_same_outputs("a", cell("chip"), {"functional", "cycle", "pe"}, true);
  }
  EXPECT_GE(kept, 2);
  EXPECT_GE(slower, 1);
}

TEST_F(Reduce, TakesALotAndSaysWhatABypassCannotHide) {
  common::write_file_atomic(folder_ / "lot.csv",
                            "chip,row,col,site,bit,stuck_at\n"
                            "A1,0,0,,,\nA1,3,4,multiplier,3,1\n"
                            "A2,2,1,psum_register,20,1\n"
                            "A3,,,,,\n");
  const Outcome outcome = reduce("all", "a", "--workers 2 --threads 1 --set 'campaign.chips={lot: lot.csv}'");
  ASSERT_EQ(outcome.status, 0) << outcome.text;
  const std::string plan = text("a/plan.yaml");
  EXPECT_THAT(plan, HasSubstr("1 faulty PE acts in spite of the bypass"));
  EXPECT_THAT(outcome.text, HasSubstr("Assumed maskable: 1 of 3 faults"));
  EXPECT_THAT(outcome.text, HasSubstr("Live in spite of the bypass: 1 faulty PE of 1 chip;"));
  common::Diagnostics diagnostics;
  const auto rows = common::parse_csv(text("a/results.csv"), "results.csv", diagnostics);
  ASSERT_EQ(rows.size(), 4u);
  EXPECT_EQ(rows[3].cells[0].text, "A3");
  EXPECT_EQ(rows[3].cells[3].text, "ship");  // no fault at all
  // On a chip whose psums are wrong, int8 on the chip and int8 on the fault-free chip part.
  EXPECT_NE(rows[2].cells[10].text, rows[2].cells[11].text);
  EXPECT_EQ(rows[1].cells[10].text, rows[1].cells[11].text);
}

}  // namespace
}  // namespace kintsugi

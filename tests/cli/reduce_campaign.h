// A Reduce campaign of a few seconds, run from the outside: an 8×8 chip, an MLP of 240 weights, and images
// made here. What tests of all its steps share.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "common/csv.h"
#include "common/diagnostics.h"
#include "common/files.h"
#include "tests/support/run_shell.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/tiny_campaign.h"

namespace kintsugi::test {

inline constexpr const char* kReduceCampaign = R"(campaign:
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

class ReduceCampaign : public testing::Test {
 protected:
  void SetUp() override { write_tiny_campaign(folder_.path(), kReduceCampaign); }

  Outcome run(const std::string& arguments) const {
    return run_shell("cd '" + folder_.path().string() + "' && '" KINTSUGI_BINARY "' " + arguments);
  }
  Outcome reduce(const std::string& step, const std::string& out, const std::string& more = "") const {
    return run("reduce " + step + " --campaign campaign.yaml --out " + out + " " + more);
  }
  std::string text(const std::string& name) const { return common::read_file(folder_ / name); }

  std::map<std::string, std::string> bytes(const std::string& out) const {
    return campaign_bytes(folder_ / out);
  }
  void expect_same(const std::string& a, const std::string& b) const {
    expect_same_campaigns(folder_ / a, folder_ / b);
  }
  std::vector<std::filesystem::path> task_files(const std::string& out) const {
    std::vector<std::filesystem::path> files;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(folder_ / out / "tasks"))
      if (entry.is_regular_file() && !is_timing(entry.path())) files.push_back(entry.path());
    std::sort(files.begin(), files.end());
    return files;
  }

  // While another process writes there: files may come and go.
  std::size_t task_files_now(const std::string& out) const {
    std::size_t files = 0;
    std::error_code code;
    for (std::filesystem::recursive_directory_iterator it(folder_ / out / "tasks", code), end;
         !code && it != end; it.increment(code))
      files += it->path().filename().string().starts_with('.') || is_timing(it->path()) ? 0 : 1;
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
        EXPECT_FALSE(std::filesystem::exists(folder_ / out / "chips" / id / "deployed.safetensors")) << id;
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
      for (const auto& entry : std::filesystem::directory_iterator(folder_ / ("r_" + id)))
        found += common::read_file(entry.path());
      EXPECT_THAT(found, testing::HasSubstr("int8_this_chip: " + expected + "\n")) << id;
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

  TemporaryFolder folder_;
};

}  // namespace kintsugi::test

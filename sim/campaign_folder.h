// A campaign's folder: where everything is, and the small result files of its tasks.
//
// The files are the truth: a task is done if its file is there and readable, whatever happened before. All of
// them are written whole or not at all. A file that cannot be read back counts as missing and is made again.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "training/reduce/chip_bench.h"
#include "training/reduce/constraint.h"
#include "training/reduce/plan.h"
#include "workloads/deployed.h"
#include "workloads/placement.h"

namespace kintsugi::sim {

namespace reduce = training::reduce;

// A retraining run at one amount of steps.
struct CharacterizedPoint {
  std::int64_t steps = 0;
  reduce::Score decision;
};
// A map that is characterised, or a chip that calibrates: amount by amount, what was known of it before any
// retraining, and what that cost.
struct CharacterizedMap {
  std::vector<CharacterizedPoint> points;  // the first at 0 steps
  reduce::Predictors predictors;
  reduce::RepairSteps repair_steps;
  double shared_repair_steps = 0;  // of repairs: done once for all maps and chips
  std::int64_t steps_run = 0;
};
struct RetrainedPoint {
  std::int64_t steps = 0;
  reduce::Score decision;
  reduce::Score test;
  // At the planned amount only: correct test images of the float weights, and in int8 on the fault-free chip.
  std::optional<std::int64_t> test_float_correct;
  std::optional<std::int64_t> test_fault_free_correct;
};

// A chip's network as repaired, to retrain from.
struct RepairedNetwork {
  workloads::Parameters parameters;
  std::optional<workloads::Placement> placement;
};

// The network that a group's chips have, and what it took.
struct GroupNetwork {
  RepairedNetwork network;
  std::vector<std::int64_t> tried;  // amounts, the last one is the network's
  std::int64_t checks = 0;          // accuracies on decision images, beside those of its chips
  reduce::RepairSteps repair_steps;
  std::string sha256;  // of the network's file
};

// What the original weights do without faults.
struct Baseline {
  reduce::Correct int8;
  reduce::Correct floating;
  std::string weights_sha256;
};

class CampaignFolder {
 public:
  explicit CampaignFolder(std::filesystem::path root) : root_(std::move(root)) {}

  const std::filesystem::path& root() const { return root_; }
  std::filesystem::path manifest() const { return root_ / "manifest.yaml"; }
  std::filesystem::path weights() const { return root_ / "weights.safetensors"; }
  std::filesystem::path deployed() const { return root_ / "deployed.safetensors"; }
  std::filesystem::path characterization() const { return root_ / "characterization.csv"; }
  std::filesystem::path resilience() const { return root_ / "resilience.csv"; }
  std::filesystem::path plan() const { return root_ / "plan.yaml"; }
  std::filesystem::path results() const { return root_ / "results.csv"; }
  std::filesystem::path compare() const { return root_ / "compare.csv"; }
  std::filesystem::path timings() const { return root_ / "timings.csv"; }
  std::filesystem::path compare_plot() const { return root_ / "compare.svg"; }
  std::filesystem::path summary() const { return root_ / "summary.yaml"; }
  std::filesystem::path chip(const std::string& id) const { return root_ / "chips" / id; }

  std::filesystem::path scales() const { return task("baseline", "scales.safetensors"); }
  std::filesystem::path baseline(const std::string& set) const {
    return task("baseline", set + ".safetensors");
  }
  std::filesystem::path characterize_task(double fault_rate, int repeat) const;
  std::filesystem::path calibrate_task(const std::string& id) const { return task("calibrate", id + ".csv"); }
  std::filesystem::path repaired_task(const std::string& id) const {
    return task("repaired", id + ".safetensors");
  }
  std::filesystem::path before_task(const std::string& id) const { return task("before", id + ".csv"); }
  std::filesystem::path retrain_task(const std::string& id) const { return task("retrain", id + ".csv"); }
  std::filesystem::path group_task(const std::string& group) const { return task("group", group + ".csv"); }
  std::filesystem::path group_network(const std::string& group) const {
    return task("group", group + ".safetensors");
  }
  std::filesystem::path deliver_task(const std::string& id) const { return task("deliver", id + ".csv"); }

  void write_scales(const workloads::ActivationScales& scales) const;
  workloads::ActivationScales read_scales() const;
  void write_baseline(const std::string& set, const Baseline& baseline) const;
  // Absent if there is no readable file for `images` images.
  std::optional<Baseline> read_baseline(const std::string& set, std::int64_t images) const;

  // Of the manifest: what tells this campaign's files from another's.
  const std::string& digest() const;

  // Results as they stand in their files; such a text read back, or nothing if it is none.
  static std::string text_of(const CharacterizedMap& map);
  static std::string text_of(std::span<const RetrainedPoint> points);
  static std::optional<CharacterizedMap> parse_characterized(const std::string& text, std::int64_t images);
  static std::optional<std::vector<RetrainedPoint>> parse_retrained(const std::string& text,
                                                                    std::int64_t decision_images,
                                                                    std::int64_t test_images);

  void write_characterized(double fault_rate, int repeat, const CharacterizedMap& map) const;
  std::optional<CharacterizedMap> read_characterized(double fault_rate, int repeat,
                                                     std::int64_t images) const;
  // The same of a chip that calibrates.
  void write_calibrated(const std::string& id, const CharacterizedMap& map) const;
  std::optional<CharacterizedMap> read_calibrated(const std::string& id, std::int64_t images) const;

  // Only to save time: kept from planning to retraining, and made again if it is gone.
  void write_repaired(const std::string& id, const workloads::Network& network,
                      const RepairedNetwork& repaired) const;
  std::optional<RepairedNetwork> read_repaired(const std::string& id,
                                               const workloads::Network& network) const;
  void remove_repaired(const std::string& id) const;
  void remove_all_repaired() const;

  // Measurements of ChipFacts, `before` among them; id, fault map and its SHA-256 are the caller's.
  void write_before(const reduce::ChipFacts& facts) const;
  std::optional<reduce::ChipFacts> read_before(const std::string& id, std::int64_t images) const;

  // `delivered`: the chip's weights are written and go with this result.
  void write_retrained(const std::string& id, std::span<const RetrainedPoint> points, bool delivered) const;
  std::optional<std::vector<RetrainedPoint>> read_retrained(const std::string& id,
                                                            std::int64_t decision_images,
                                                            std::int64_t test_images) const;
  // True if the chip's weights are there and are those that its result was written with.
  bool delivered(const std::string& id) const;

  // `job` tells one plan's group from another's of the same name; reading wants the same. `sha256` is read
  // only.
  void write_group(const std::string& group, const std::string& job, const workloads::Network& network,
                   const GroupNetwork& result) const;
  std::optional<GroupNetwork> read_group(const std::string& group, const std::string& job,
                                         const workloads::Network& network) const;
  // What a chip with its group's network reached; its weights are written.
  void write_delivered(const std::string& id, const RetrainedPoint& point,
                       const std::string& network_sha256) const;
  // Nothing if its weights are not there or not made from that network.
  std::optional<RetrainedPoint> read_delivered(const std::string& id, const std::string& network_sha256,
                                               std::int64_t decision_images, std::int64_t test_images) const;

 private:
  std::filesystem::path task(const std::string& kind, const std::string& name) const {
    return root_ / "tasks" / kind / name;
  }
  static std::optional<reduce::ChipFacts> parse_before(const std::string& id, const std::string& text,
                                                       std::int64_t images);
  std::filesystem::path root_;
  mutable std::string digest_;  // read when first needed
};

}  // namespace kintsugi::sim

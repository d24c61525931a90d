// What tests of campaigns share: a network that trains in no time, and folders compared byte by byte.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <string>

#include "common/files.h"
#include "tests/support/tiny_images.h"

namespace kintsugi::test {

// For the images of tiny_images.h.
inline constexpr const char* kTinyMlp = R"(network:
  name: tiny_mlp
  input: {channels: 1, height: 4, width: 4}
  layers:
    - {type: flatten}
    - {type: linear, name: fc1, out_features: 12}
    - {type: relu}
    - {type: linear, name: fc2, out_features: 3}
  loss: softmax_cross_entropy
)";

// 8×8 PEs that are bypassed where they are faulty.
inline constexpr const char* kTinyChip =
    "chip:\n  name: tiny\n  array: {rows: 8, cols: 8, bypass: fap}\n  memory: ideal\n";

// What a campaign on that chip and network reads: x.npy and y.npy, chip.yaml, network.yaml, campaign.yaml.
inline void write_tiny_campaign(const std::filesystem::path& folder, const std::string& campaign) {
  write_tiny_images(folder);
  common::write_file_atomic(folder / "chip.yaml", kTinyChip);
  common::write_file_atomic(folder / "network.yaml", kTinyMlp);
  common::write_file_atomic(folder / "campaign.yaml", campaign);
}

// Seconds are not the same from run to run.
inline bool is_timing(const std::filesystem::path& file) {
  return file.filename() == "timings.csv" || file.string().find("/tasks/timings/") != std::string::npos;
}

// Every file of a finished campaign, by its path in the folder; but not what says how it was run: the lock,
// the status, the command, the timings, the jobs.
inline std::map<std::string, std::string> campaign_bytes(const std::filesystem::path& folder) {
  std::map<std::string, std::string> files;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
    const std::string name = std::filesystem::relative(entry.path(), folder).string();
    if (entry.is_regular_file() && name != ".lock" && name != "command.yaml" &&
        !name.starts_with(".status/") && !name.starts_with("slurm/") && !is_timing(entry.path()))
      files[name] = common::read_file(entry.path());
  }
  return files;
}

inline void expect_same_campaigns(const std::filesystem::path& a, const std::filesystem::path& b) {
  const auto left = campaign_bytes(a), right = campaign_bytes(b);
  for (const auto& [name, content] : left) {
    ASSERT_TRUE(right.contains(name)) << name << " is missing in " << b;
    EXPECT_TRUE(right.at(name) == content) << name << " differs between " << a << " and " << b;
  }
  for (const auto& [name, content] : right)
    EXPECT_TRUE(left.contains(name)) << name << " is in " << b << " only";
}

}  // namespace kintsugi::test

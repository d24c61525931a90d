// An overclocking campaign's folder: where everything is, and the result files of its tasks. As in
// sim/campaign_folder.h the files are the truth.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "training/overclock/overclock_bench.h"

namespace kintsugi::sim {

namespace overclock = training::overclock;

// Where weights are evaluated: a point of the sweep on the campaign's chip or another one, or without errors.
struct Place {
  std::string point;                        // OverclockPoint::name; empty: without errors
  std::optional<std::uint64_t> other_chip;  // its seed
  std::string file_name() const;
};

// What the original weights do without errors: scales and figures of it are what all tasks start from.
struct Reference {
  overclock::Hits int8;
  overclock::Hits floating;
  std::string weights_sha256;
};

class OverclockFolder {
 public:
  explicit OverclockFolder(std::filesystem::path root) : root_(std::move(root)) {}

  const std::filesystem::path& root() const { return root_; }
  std::filesystem::path manifest() const { return root_ / "manifest.yaml"; }
  std::filesystem::path scales() const { return root_ / "tasks" / "reference" / "scales.safetensors"; }
  std::filesystem::path reference(const std::string& set) const {
    return root_ / "tasks" / "reference" / (set + ".safetensors");
  }
  // Of a model: "original", "control", "noise", "dropout", "twa_875_mhz", "twa_clp_875_mhz".
  std::filesystem::path weights(const std::string& model) const {
    return root_ / "models" / (model + ".safetensors");
  }
  std::filesystem::path evaluation(const std::string& model, const Place& place,
                                   const std::string& set) const;

  void write_reference(const std::string& set, const Reference& reference) const;
  // Absent if there is no readable file for `images` images, or the scales are not those it was measured
  // with.
  std::optional<Reference> read_reference(const std::string& set, std::int64_t images) const;

  // `weights_sha256`: of the weights that were measured. A file of other ones counts as missing.
  void write_evaluation(const std::string& model, const Place& place, const std::string& set,
                        const overclock::Measured& measured, const std::string& weights_sha256) const;
  std::optional<overclock::Measured> read_evaluation(const std::string& model, const Place& place,
                                                     const std::string& set, std::int64_t images,
                                                     const workloads::Network& network,
                                                     const std::string& weights_sha256) const;

 private:
  // Of the manifest: what tells this campaign's files from another's.
  const std::string& digest() const;

  std::filesystem::path root_;
  mutable std::string digest_;  // read when first needed
};

}  // namespace kintsugi::sim

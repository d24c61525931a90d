// manifest.yaml: what a campaign's folder was made from, so that a later run can tell whether it still is.
//
// Every setting that can change a result is listed, and digests of what is too long to list. How the work is
// spread (workers, threads) is not: it changes no byte. The instruction set and the library are: float
// training is promised to be the same on one of each only.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "sim/campaign_inputs.h"

namespace kintsugi::sim {

struct ManifestEntry {
  std::string key;  // "characterize.max_steps"
  std::string value;
};

// In a fixed order.
std::vector<ManifestEntry> manifest_of(const CampaignInputs& inputs);

std::string manifest_yaml(const std::vector<ManifestEntry>& entries);

// Writes the manifest if there is none; throws common::InputError listing every difference if there is one
// that differs.
void write_or_check_manifest(const std::filesystem::path& file, const std::vector<ManifestEntry>& entries);

}  // namespace kintsugi::sim

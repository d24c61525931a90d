// manifest.yaml: what a campaign's folder was made from, so that a later run can tell whether it still is.
//
// Every setting that can change a result is listed, and digests of what is too long to list. How the work is
// spread (workers, threads) is not: it changes no byte. The instruction set and the library are: float
// training is promised to be the same on one of each only.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "configs/campaign.h"
#include "configs/chip.h"
#include "configs/network.h"
#include "workloads/dataset.h"

namespace kintsugi::sim {

struct ManifestEntry {
  std::string key;  // "characterize.max_steps"
  std::string value;
};

// Version of the format, program and library, the instruction set, and the seed.
std::vector<ManifestEntry> manifest_start(std::uint64_t seed);
// What every kind of campaign lists.
void add_chip(std::vector<ManifestEntry>& entries, const configs::ChipConfig& chip);
void add_network(std::vector<ManifestEntry>& entries, const configs::NetworkConfig& network);
void add_pretrain(std::vector<ManifestEntry>& entries, const configs::PretrainConfig& pretrain);
void add_sgd(std::vector<ManifestEntry>& entries, const std::string& prefix, const configs::SgdConfig& sgd);
void add_quantization(std::vector<ManifestEntry>& entries, const configs::QuantizationConfig& quantization);
std::string digest(const workloads::ImageSet& images);
// Numbers with spaces between them.
std::string number_list(const std::vector<double>& values);

std::string manifest_yaml(const std::vector<ManifestEntry>& entries);

// Throws common::InputError listing every difference if the manifest differs, or if there is none.
void check_manifest(const std::filesystem::path& file, const std::vector<ManifestEntry>& entries);
// Writes it if there is none.
void write_or_check_manifest(const std::filesystem::path& file, const std::vector<ManifestEntry>& entries);

}  // namespace kintsugi::sim

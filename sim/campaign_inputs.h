// Everything a campaign starts from, read and checked: chip, network, images, the lot's fault maps.
//
// Three disjoint sets of images: training; decision, held out of training, for the constraint, calibration
// and every choice; test, for the final figures.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "configs/campaign.h"
#include "configs/chip.h"
#include "configs/network.h"
#include "faults/array_faults.h"
#include "faults/fault_map.h"
#include "faults/lot_io.h"
#include "training/reduce/plan.h"
#include "workloads/dataset.h"
#include "workloads/network.h"

namespace kintsugi::sim {

struct CampaignInputs {
  configs::CampaignConfig config;
  configs::ChipConfig chip;
  configs::NetworkConfig network_config;
  workloads::Network network;
  workloads::ImageSet training;
  workloads::ImageSet held_out;  // of the training images; calibration reads it
  workloads::ImageSet decision;  // held_out, or the test set where the campaign leaks as published
  workloads::ImageSet test;
  bool test_is_cut = false;  // the data set was one pair of files, whose last sixth is the test set
  faults::Lot chips;         // unpacked map by map: ten thousand of them fit in memory
  std::vector<std::string> chip_sha256;  // of each map as fault_map.yaml has it
  // Chips that a guarantee is calibrated on: more of the population that the lot is sampled from, or, of a
  // lot that was measured, some of its own.
  std::vector<faults::FaultMap> calibration;
  bool calibrates_on_lot = false;
  std::uint64_t seed = 1;

  std::int64_t steps_per_epoch() const { return training.size() / config.retrain.batch; }
};

// Throws common::InputError for anything that would stop the campaign later on.
CampaignInputs load_campaign(const std::filesystem::path& file, const configs::Overrides& overrides,
                             std::uint64_t seed, const std::filesystem::path& data_dir);

// A random map for characterisation at the rate: i.i.d. and of unknown nature, or of the lot's own kind.
// Fixed by (seed, rate index, repeat), from streams disjoint from those of the lot's chips.
faults::FaultMap characterization_map(const CampaignInputs& inputs, std::size_t rate_index, int repeat);

// What a chip's map says by itself: everything of ChipFacts but id of file and digest, and what is measured.
training::reduce::ChipFacts facts_of_map(const CampaignInputs& inputs, const faults::FaultMap& map,
                                         const faults::ArrayFaults& faults);

// Hooks and bypass bits of a map on the campaign's chip; the bypass is what the map's test found.
faults::ArrayFaults compile_for(const CampaignInputs& inputs, const faults::FaultMap& map);

}  // namespace kintsugi::sim

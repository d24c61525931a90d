// The options of `kintsugi train`, checked.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "configs/campaign.h"
#include "configs/timing.h"
#include "configs/workload.h"
#include "sim/options.h"

namespace kintsugi::sim {

struct TrainOptions {
  CommonOptions common;
  common::ProgressOutput progress = common::ProgressOutput::people;
  std::filesystem::path network;
  configs::DatasetConfig training_data;             // split train
  std::optional<configs::DatasetConfig> test_data;  // absent: files without a test pair
  std::optional<std::filesystem::path> chip;
  configs::OperatingPointConfig point;  // of the chip
  std::optional<std::filesystem::path> fault_map;
  std::optional<std::filesystem::path> bypass_map;
  bool no_bypass = false;
  std::optional<std::filesystem::path> weights;
  std::optional<std::int64_t> steps;  // otherwise `epochs`
  double epochs = 8;
  configs::SgdConfig sgd;
  configs::Forward forward = configs::Forward::chip;  // meaningful with a chip
  configs::QuantizationConfig quantization;
  std::int64_t decision_images = 5000;
  std::optional<std::uint64_t> split_seed;
  std::int64_t evaluate_every = 0;    // steps; 0: every epoch
  std::int64_t checkpoint_every = 0;  // steps; 0: every epoch
};

// Throws common::InputError for options that are malformed or do not go together. Returns nothing if --help
// was asked for.
std::optional<TrainOptions> parse_train_options(const std::vector<std::string>& arguments);

}  // namespace kintsugi::sim

// The three disjoint sets of images of a campaign: training; held out of training, for calibration and every
// choice; test, for the final figures.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <vector>

#include "configs/workload.h"
#include "workloads/dataset.h"
#include "workloads/network.h"

namespace kintsugi::sim {

struct ImageSets {
  workloads::ImageSet training, held_out, test;
  bool test_is_cut = false;  // the data set was one pair of files, whose last sixth is the test set
};

struct ImageSetsRequest {
  std::filesystem::path campaign;  // for messages
  configs::DatasetConfig dataset;
  std::int64_t decision_images = 0;
  std::optional<std::uint64_t> split_seed;
  std::vector<int> batches;  // mini-batches that the training images must fill
};

// Throws common::InputError if the data set is missing, does not fit the network, or is too small.
ImageSets load_image_sets(const ImageSetsRequest& request, const workloads::Network& network,
                          const std::filesystem::path& data_dir);

// Files of their own data set: users need the images that were cut off, to run weights on them. Writes
// images.npy and labels.npy unless they are there.
void write_cut_test_set(const std::filesystem::path& folder, const workloads::ImageSet& images);

}  // namespace kintsugi::sim

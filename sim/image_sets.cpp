#include "sim/image_sets.h"

#include <fmt/format.h>

#include <algorithm>

#include "common/diagnostics.h"
#include "workloads/npy.h"

namespace kintsugi::sim {

using common::InputError;

ImageSets load_image_sets(const ImageSetsRequest& request, const workloads::Network& network,
                          const std::filesystem::path& data_dir) {
  ImageSets sets;
  workloads::ImageSet all = workloads::load_dataset(request.dataset, configs::Split::train, data_dir);
  workloads::check_dataset(all, network, request.dataset.where);
  if (request.dataset.name.empty()) {
    // One pair of files holds everything: cut the test set off before anything else.
    workloads::DecisionSplit split =
        workloads::hold_out(all, std::max<std::int64_t>(1, all.size() / 6), std::nullopt);
    sets.test_is_cut = true;
    sets.test = std::move(split.decision);
    all = std::move(split.training);
  } else {
    sets.test = workloads::load_dataset(request.dataset, configs::Split::test, data_dir);
    workloads::check_dataset(sets.test, network, request.dataset.where);
  }
  workloads::DecisionSplit split = [&] {
    try {
      return workloads::hold_out(all, request.decision_images, request.split_seed);
    } catch (const InputError& problem) {
      throw InputError({request.campaign.string()}, problem.what());
    }
  }();
  sets.training = std::move(split.training);
  sets.held_out = std::move(split.decision);
  for (const int batch : request.batches)
    if (sets.training.size() < batch)
      throw InputError(
          {request.campaign.string()},
          fmt::format("a mini-batch of {} does not fit: only {} training images are left after the "
                      "decision set; lower 'batch' or 'decision_images'",
                      batch, sets.training.size()));
  return sets;
}

void write_cut_test_set(const std::filesystem::path& folder, const workloads::ImageSet& images) {
  if (std::filesystem::exists(folder / "labels.npy")) return;
  std::filesystem::create_directories(folder);
  workloads::write_npy(folder / "images.npy",
                       workloads::Tensor<std::uint8_t>(
                           {images.size(), images.shape.channels, images.shape.height, images.shape.width},
                           {images.pixels.begin(), images.pixels.end()}));
  workloads::write_npy(folder / "labels.npy",
                       workloads::Tensor<std::int32_t>({images.size()}, images.labels));
}

}  // namespace kintsugi::sim

// The weights that a campaign starts from: trained in float from scratch, or given.
#pragma once

#include <cstdint>
#include <filesystem>

#include "configs/campaign.h"
#include "sim/task_executor.h"
#include "workloads/dataset.h"
#include "workloads/network.h"

namespace kintsugi::sim {

// A file of weights is there and can be read to its end; a damaged one is warned of.
bool has_whole_weights(const std::filesystem::path& file);

// All of it must outlive the call.
struct Pretraining {
  const configs::PretrainConfig& config;
  const workloads::Network& network;
  const workloads::ImageSet& images;
  std::uint64_t seed = 0;

  // Mini-batch steps of the configured epochs; 0 if weights are given.
  std::int64_t steps() const;
  // Writes the weights to `file`, and checkpoints beside it. To be called in a worker: starts threads.
  void run(const std::filesystem::path& file, int threads, double checkpoint_seconds,
           const ReportSteps& progress) const;
};

}  // namespace kintsugi::sim

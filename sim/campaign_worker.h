// What a worker process of a campaign does with its tasks. Built inside the worker: it starts threads.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "common/thread_pool.h"
#include "sim/campaign_folder.h"
#include "sim/campaign_inputs.h"
#include "sim/pretraining.h"
#include "training/reduce/chip_bench.h"
#include "workloads/tensor.h"

namespace kintsugi::sim {

class CampaignWorker {
 public:
  CampaignWorker(const CampaignInputs& inputs, const CampaignFolder& folder, int threads);

  // Activation scales and deployed.safetensors of the fault-free chip, if they are not there yet; then the
  // original weights over `images`, float and int8.
  void baseline(const std::string& set, const workloads::ImageSet& images);
  void characterize(std::size_t rate_index, int repeat, const ReportSteps& progress);
  void before(const faults::FaultMap& map);
  // Evaluates at every mark; at `planned` (absent: rejected) also writes the chip's weights. `repair`: first,
  // as the campaign says.
  void retrain(const faults::FaultMap& map, const std::vector<std::int64_t>& marks,
               std::optional<std::int64_t> planned, bool repair, const ReportSteps& progress);

 private:
  // Baselines are read when first needed: those of the test set exist for retraining only.
  const reduce::Correct& baseline_of(const std::string& set, const workloads::ImageSet& images);
  const workloads::ActivationScales& scales();

  const CampaignInputs& inputs_;
  const CampaignFolder& folder_;
  common::ThreadPool pool_;
  reduce::ChipBench bench_;
  workloads::Parameters weights_;
  std::optional<workloads::ActivationScales> scales_;
  std::map<std::string, reduce::Correct> baselines_;
};

}  // namespace kintsugi::sim

// What a worker process of a campaign does with its tasks. Built inside the worker: it starts threads.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "common/thread_pool.h"
#include "sim/campaign_folder.h"
#include "sim/campaign_inputs.h"
#include "sim/campaign_timings.h"
#include "sim/pretraining.h"
#include "training/reduce/adaptive.h"
#include "training/reduce/chip_bench.h"
#include "workloads/tensor.h"

namespace kintsugi::sim {

// What is done for one chip after planning.
struct RetrainJob {
  reduce::Wanted wanted;
  bool deliver = true;                  // write the chip's weights (a rejected chip has none) …
  std::optional<std::int64_t> planned;  // … of this amount; absent: of where the first ladder ends
  bool repair = false;                  // first, as the campaign says
};

// One network for several chips.
struct GroupJob {
  std::string id;
  std::vector<std::size_t> chips;  // indices in the lot
  reduce::Wanted wanted;           // one amount, or one ladder
  std::string tag;                 // all that its network depends on beside the campaign
};

// Decision scores of a chip's points, of those too that are added later. `points` must outlive it.
reduce::ScoreAt decision_scores(const std::vector<RetrainedPoint>& points);

class CampaignWorker {
 public:
  CampaignWorker(const CampaignInputs& inputs, const CampaignFolder& folder, int threads,
                 double checkpoint_seconds);

  // Activation scales and deployed.safetensors of the fault-free chip, if they are not there yet; then the
  // original weights over `images`, float and int8.
  void baseline(const std::string& set, const workloads::ImageSet& images);
  void characterize(std::size_t rate_index, int repeat, const ReportSteps& progress);
  void before(const faults::FaultMap& map);
  // A chip that calibrates: as characterize(), for its own map.
  void calibrate(const faults::FaultMap& map, const ReportSteps& progress);
  void retrain(const faults::FaultMap& map, const RetrainJob& job, const ReportSteps& progress);
  // Repairs and retrains on a chip that bypasses what any of the group's does.
  void retrain_group(const GroupJob& job, const ReportSteps& progress);
  // Puts that network on one of its chips, with the chip's own faults and bypass, and measures it there.
  void deliver(const faults::FaultMap& map, const GroupJob& job);

 private:
  // Baselines are read when first needed: those of the test set exist for retraining only.
  const reduce::Correct& baseline_of(const std::string& set, const workloads::ImageSet& images);
  const workloads::ActivationScales& scales();
  // With what repair is to keep away from, unless that is known to be in vain.
  void insert(const faults::FaultMap& map, const faults::ArrayFaults& faults, bool keep_away = true);
  // Repairs the inserted chip as the campaign says.
  workloads::Parameters repaired(StageTimes& times);
  // Accuracy on the decision images.
  reduce::Score check(const workloads::Parameters& parameters, StageTimes& times, double* loss = nullptr);
  // Measures what a delivered network has in `point` beside its int8 accuracies, and writes it to the chip's
  // folder.
  void hand_over(const std::string& id, const workloads::Parameters& parameters,
                 const workloads::DeployedNetwork& deployed, RetrainedPoint& point);
  // Of a task with this result file.
  training::Checkpointer checkpoints(const std::filesystem::path& result, const std::string& tag) const;
  // The inserted chip, amount by amount. `needs_run`: told the score before any retraining, says whether the
  // amounts after 0 are asked for.
  CharacterizedMap characterized(const std::string& stream, const ReportSteps& progress, StageTimes& times,
                                 training::Checkpointer& checkpointer,
                                 const std::function<bool(const reduce::Score&)>& needs_run);

  const CampaignInputs& inputs_;
  const CampaignFolder& folder_;
  double checkpoint_seconds_;
  common::ThreadPool pool_;
  reduce::ChipBench bench_;
  workloads::Parameters weights_;
  std::optional<workloads::ActivationScales> scales_;
  std::map<std::string, reduce::Correct> baselines_;
};

}  // namespace kintsugi::sim

// The bench one worker has: a simulated chip, the network, and the images. Puts weights on a chip with given
// faults, measures them, and retrains them there (FAP+T).
//
// Everything it returns depends on its arguments only, not on what it did before.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "array/functional_accelerator.h"
#include "common/stopwatch.h"
#include "configs/campaign.h"
#include "configs/chip.h"
#include "faults/array_faults.h"
#include "faults/unbypassable.h"
#include "training/checkpointer.h"
#include "training/reduce/constraint.h"
#include "training/reduce/plan.h"
#include "training/trainer.h"
#include "workloads/dataset.h"
#include "workloads/deployed.h"
#include "workloads/network.h"

namespace kintsugi::training::reduce {

// One byte an image, 1 where the prediction is right.
using Correct = std::vector<std::uint8_t>;

// `baseline` must be as long as `now`.
Score score(const Correct& now, const Correct& baseline);
std::int64_t count(const Correct& correct);

// What stays the same for all tasks of a campaign; all of it must outlive the bench.
struct BenchInputs {
  const configs::ChipConfig* chip = nullptr;
  const workloads::Network* network = nullptr;
  const workloads::ImageSet* training = nullptr;
  configs::SgdConfig sgd;
  configs::Forward forward = configs::Forward::chip;
  std::uint64_t seed = 0;
  configs::RepairConfig repair = {};
};

// Called with (steps done, parameters) at each mark, in ascending order.
using AtMark = std::function<void(std::int64_t, const workloads::Parameters&)>;
// Asked for the next amount to retrain by, before the first and after each mark: ascending, may begin with 0;
// nothing: done.
using NextMark = std::function<std::optional<std::int64_t>()>;
// One after the other.
NextMark each_of(std::vector<std::int64_t> marks);

// Arithmetic of running `images` forward, in steps of retraining at this batch: a step runs its images
// forward and twice backward.
double forward_steps(std::int64_t images, int batch);

struct RepairSeconds {
  common::Seconds shared, mapping, compensation, batch_norm;
};

// Lets a retraining run that was killed go on from its checkpoint.
struct Resumable {
  Checkpointer* checkpointer = nullptr;
  // What the caller has recorded at the marks passed so far, as text; kept in the checkpoint.
  std::function<std::string()> text = {};
  // Takes such a text back and returns the last mark in it; −1 if it holds none.
  std::function<std::int64_t(const std::string&)> restore = {};
};

class ChipBench {
 public:
  ChipBench(const BenchInputs& inputs, common::ThreadPool& pool);
  ~ChipBench();

  // Faults are loaded until the next call; channels are where the network says. `unbypassable`: what mapping
  // is to keep away from, if the campaign has that.
  void insert_chip(const faults::ArrayFaults& faults,
                   std::optional<faults::Unbypassable> unbypassable = std::nullopt);
  // The inserted chip's repair: channels mapped around its faulty PEs, pruning, compensation, batch-norm
  // recalibration, as far as asked for. Returns the repaired parameters. From here on all parameters are
  // those of the mapped network.
  workloads::Parameters repair(const workloads::Parameters& original,
                               const workloads::ActivationScales& scales);
  // What the last repair cost. What repairs of all chips share is not in it: it is done once, by the first.
  const RepairSteps& repair_steps() const { return repair_steps_; }
  const RepairSeconds& repair_seconds() const { return repair_seconds_; }
  double shared_repair_steps() const;
  // Multiply-adds of one SGD step of the campaign: forward, gradients of data, gradients of weights.
  double step_multiply_adds() const;
  // Channels sit where an earlier repair of the inserted chip put them: what repair() leaves, if its
  // parameters are at hand.
  void place_channels(const workloads::Placement& placement);
  // Shares of the original weights that the inserted chip prunes, as it is mapped now.
  Predictors pruned(const workloads::Parameters& original) const;
  // Null if every channel is where the network says.
  const workloads::Placement* placement() const { return placement_ ? &*placement_ : nullptr; }
  const workloads::Network& network() const { return network_; }
  // Parameters of the mapped network as the network was written.
  workloads::Parameters as_written(const workloads::Parameters& parameters) const;
  const workloads::Masks& masks() const { return masks_; }
  // What the last repair did about faults that the bypass does not hide; absent if there was nothing to keep
  // away from. With a problem nothing was done about them.
  const std::optional<repair::Dropped>& dropped() const { return dropped_; }

  // Quantised for the inserted chip: pruned weights, its bypass bits.
  workloads::DeployedNetwork deploy(const workloads::Parameters& parameters,
                                    const workloads::ActivationScales& scales) const;
  // int8 on the inserted chip. `mean_loss`: receives the mean cross-entropy.
  Correct measure(const workloads::DeployedNetwork& deployed, const workloads::ImageSet& images,
                  double* mean_loss = nullptr);
  // int8 on a fault-free chip; the inserted chip stays inserted.
  Correct measure_fault_free(const workloads::DeployedNetwork& deployed, const workloads::ImageSet& images);
  Correct measure_float(const workloads::Parameters& parameters, const workloads::ImageSet& images);

  // Retrains `start` through the inserted chip by each amount asked for, with random streams named `stream`.
  // With a constant learning rate one run passes through all of them; with another schedule, which stretches
  // over a run, every amount is a run of its own from `start`, on the same order of images. `progress` is
  // called with the number of steps done since its last call. Returns the number of steps run, those of
  // killed processes that it went on from included. Marks that `resumable` has recorded are not met again.
  std::int64_t retrain(const workloads::Parameters& start, const workloads::ActivationScales& scales,
                       const std::string& stream, const NextMark& next_mark, const AtMark& at_mark,
                       const std::function<void(std::int64_t)>& progress, const Resumable& resumable = {});

 private:
  Correct run(const workloads::DeployedNetwork& deployed, const workloads::ImageSet& images,
              const faults::ArrayFaults& faults, double* mean_loss = nullptr);

  void share_repair(const workloads::Parameters& original, const workloads::ActivationScales& scales);
  workloads::ImageSet first_images(std::int64_t count) const;
  double forward_multiply_adds(std::int64_t images) const;

  BenchInputs inputs_;
  struct SharedRepair;  // what repairs of all chips have in common
  std::unique_ptr<SharedRepair> shared_repair_;
  workloads::Network network_;  // of the inserted chip
  std::optional<workloads::Placement> placement_;
  RepairSteps repair_steps_;
  RepairSeconds repair_seconds_;
  common::ThreadPool& pool_;
  array::FunctionalAccelerator accelerator_;
  faults::ArrayFaults faults_;
  std::optional<faults::Unbypassable> avoided_;  // there is something, and mapping keeps away from it
  std::optional<repair::Dropped> dropped_;
  workloads::Masks masks_;
};

// PEs whose fault acts in spite of the bypass: an unbypassed faulty PE, or a bypassed one with a fault in one
// of the two registers that neighbours read.
std::int64_t live_faulty_pes(const faults::ArrayFaults& faults);

}  // namespace kintsugi::training::reduce

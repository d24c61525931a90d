// The bench one worker has: a simulated chip, the network, and the images. Puts weights on a chip with given
// faults, measures them, and retrains them there (FAP+T).
//
// Everything it returns depends on its arguments only, not on what it did before.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "array/functional_accelerator.h"
#include "configs/campaign.h"
#include "configs/chip.h"
#include "faults/array_faults.h"
#include "training/reduce/constraint.h"
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
  configs::SgdConfig sgd;  // schedule must be constant: one run then serves every amount
  configs::Forward forward = configs::Forward::chip;
  std::uint64_t seed = 0;
  configs::RepairConfig repair = {};
};

// Called with (steps done, parameters) at each mark, in ascending order.
using AtMark = std::function<void(std::int64_t, const workloads::Parameters&)>;

class ChipBench {
 public:
  ChipBench(const BenchInputs& inputs, common::ThreadPool& pool);
  ~ChipBench();

  // Faults are loaded until the next call; channels are where the network says.
  void insert_chip(const faults::ArrayFaults& faults);
  // The inserted chip's repair: channels mapped around its faulty PEs, pruning, compensation, batch-norm
  // recalibration, as far as asked for. Returns the repaired parameters. From here on all parameters are
  // those of the mapped network.
  workloads::Parameters repair(const workloads::Parameters& original,
                               const workloads::ActivationScales& scales);
  // Arithmetic of the last repair, in multiply-adds; one SGD step of the campaign takes step_multiply_adds().
  // What repairs of all chips share is not in it: it is done once, by the first.
  double repair_multiply_adds() const { return repair_multiply_adds_; }
  double shared_repair_multiply_adds() const;
  double step_multiply_adds() const;
  // Null if every channel is where the network says.
  const workloads::Placement* placement() const { return placement_ ? &*placement_ : nullptr; }
  const workloads::Network& network() const { return network_; }
  // Parameters of the mapped network as the network was written.
  workloads::Parameters as_written(const workloads::Parameters& parameters) const;
  const workloads::Masks& masks() const { return masks_; }

  // Quantised for the inserted chip: pruned weights, its bypass bits.
  workloads::DeployedNetwork deploy(const workloads::Parameters& parameters,
                                    const workloads::ActivationScales& scales) const;
  // int8 on the inserted chip.
  Correct measure(const workloads::DeployedNetwork& deployed, const workloads::ImageSet& images);
  // int8 on a fault-free chip; the inserted chip stays inserted.
  Correct measure_fault_free(const workloads::DeployedNetwork& deployed, const workloads::ImageSet& images);
  Correct measure_float(const workloads::Parameters& parameters, const workloads::ImageSet& images);

  // Retrains `start` through the inserted chip up to the last of `marks` (ascending, may hold 0) with random
  // streams named `stream`. `progress` is called with the number of steps done since its last call.
  void retrain(const workloads::Parameters& start, const workloads::ActivationScales& scales,
               const std::string& stream, std::span<const std::int64_t> marks, const AtMark& at_mark,
               const std::function<void(std::int64_t)>& progress);

 private:
  Correct run(const workloads::DeployedNetwork& deployed, const workloads::ImageSet& images,
              const faults::ArrayFaults& faults);

  void share_repair(const workloads::Parameters& original, const workloads::ActivationScales& scales);
  workloads::ImageSet first_images(std::int64_t count) const;
  double forward_multiply_adds(std::int64_t images) const;

  BenchInputs inputs_;
  struct SharedRepair;  // what repairs of all chips have in common
  std::unique_ptr<SharedRepair> shared_repair_;
  workloads::Network network_;  // of the inserted chip
  std::optional<workloads::Placement> placement_;
  double repair_multiply_adds_ = 0;
  common::ThreadPool& pool_;
  array::FunctionalAccelerator accelerator_;
  faults::ArrayFaults faults_;
  workloads::Masks masks_;
};

// PEs whose fault acts in spite of the bypass: an unbypassed faulty PE, or a bypassed one with a fault in one
// of the two registers that neighbours read.
std::int64_t live_faulty_pes(const faults::ArrayFaults& faults);

}  // namespace kintsugi::training::reduce

// Training on the host, optionally with the simulated chip in the forward pass.
//
// Backward is float with straight-through gradients through rounding (Xu et al., ASAP 2019); gradients of
// masked weights are zero, so masked weights stay zero (FAP+T, Zhang et al., VTS 2018). Auxiliary state that
// backward needs (ReLU mask, pool arg-max, batch-norm statistics) comes from the forward pass that was run:
// the simulated one when the chip is in it.
//
// The bytes of the parameters after n steps depend on (network, start, images, options, seed) only, not on
// threads or on having been checkpointed.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "array/accelerator.h"
#include "configs/campaign.h"
#include "workloads/dataset.h"
#include "workloads/deployed.h"
#include "workloads/network.h"
#include "workloads/tensor.h"

namespace kintsugi::common {
class ThreadPool;
}

namespace kintsugi::training {

struct TrainerOptions {
  configs::SgdConfig sgd;
  std::int64_t total_steps = 0;  // what a schedule is stretched over
  std::uint64_t seed = 0;        // order of images, augmentation, dropout
  std::string stream = "train";  // purpose prefix of the random streams
  // Of normal noise added to every layer's products and sums in a float forward pass, relative to their root
  // mean square over the mini-batch: the baseline "train with noise" of Xu et al. Not with a chip in the
  // loop.
  double output_noise = 0;
  // Batch-norm by the running statistics of the start weights, which stay as they are, instead of the
  // batch's.
  bool freeze_batch_norm = false;
  std::string tag;  // whatever else the run depends on and a checkpoint must match: the digest of
                    // the faults loaded in the accelerator, which it cannot be asked for
};

// Set to train through the chip; without it the forward pass is float on masked weights.
struct ChipInTheLoop {
  array::Accelerator* accelerator = nullptr;  // with the chip's faults loaded
  workloads::ActivationScales scales;         // frozen
  // Layers taken off the accelerator, by stage (empty: none): another accelerator without errors stands in
  // for the host, which computes in int8 what the accelerator would compute if it did not err.
  array::Accelerator* host = nullptr;
  std::vector<std::uint8_t> on_host = {};
};

class Trainer {
 public:
  // `network` and `images` must outlive the trainer. `masks` may be empty. Throws InputError if parameters,
  // images, masks or scales do not fit the network, the images do not fill one batch, or noise is asked for
  // with a chip in the loop.
  Trainer(const workloads::Network& network, workloads::Parameters start, const workloads::ImageSet& images,
          const TrainerOptions& options, workloads::Masks masks = {},
          std::optional<ChipInTheLoop> chip = std::nullopt, common::ThreadPool* pool = nullptr);
  ~Trainer();

  // One mini-batch; returns its mean loss. An epoch is floor(images / batch) steps over a fresh permutation.
  // Throws InputError when training diverges (the loss is no longer a number).
  double step();

  std::int64_t steps_done() const;
  std::int64_t steps_per_epoch() const;
  const workloads::Parameters& parameters() const;

  // Everything that the next step depends on. Throws InputError if the checkpoint is of another run. `notes`:
  // see training/checkpoint.h.
  void save(const std::filesystem::path& file, const std::map<std::string, std::string>& notes = {}) const;
  void load(const std::filesystem::path& file);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace kintsugi::training

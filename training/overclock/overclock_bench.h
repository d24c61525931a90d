// The bench one worker of an overclocking campaign has: a chip at an operating point beside one without
// errors, the network and the images. Measures weights there, and trains them in the ways that are compared.
//
// Everything it returns depends on its arguments and the point only, not on what it did before.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "array/functional_accelerator.h"
#include "configs/campaign.h"
#include "configs/chip.h"
#include "faults/array_faults.h"
#include "faults/chip_timing.h"
#include "training/checkpointer.h"
#include "training/overclock/error_classes.h"
#include "training/overclock/twin_accelerator.h"
#include "training/trainer.h"
#include "workloads/dataset.h"
#include "workloads/deployed.h"
#include "workloads/layer_report.h"
#include "workloads/network.h"

namespace kintsugi::training::overclock {

// All of it must outlive the bench.
struct BenchInputs {
  const workloads::Network* network = nullptr;
  const workloads::ImageSet* training = nullptr;
  const faults::ArrayFaults* faults = nullptr;  // permanent ones of the chip
  configs::SgdConfig sgd;
  std::int64_t steps = 0;
  bool freeze_batch_norm = true;
  std::int64_t evaluation_batch = 1;
  std::uint64_t seed = 0;
};

// One byte an image, 1 where the label is the prediction, or among the five likeliest classes; the latter is
// empty for networks of up to five classes. Of equal logits the lower class comes first.
struct Hits {
  std::vector<std::uint8_t> top1, top5;
  friend bool operator==(const Hits&, const Hits&) = default;
};
Hits hits_of(const workloads::Tensor<float>& logits, const std::vector<std::int32_t>& labels);

struct Measured {
  Hits hits;
  std::vector<ErrorCounts> errors;             // by stage; all zero unless asked for
  std::vector<workloads::LayerReport> layers;  // what ran on the chip
};

// How weights are trained on. chip: with the accelerator and its errors in the loop. control: with an
// accelerator that does not err. noise and dropout: in float.
enum class Method { chip, control, noise, dropout };
struct Training {
  Method method = Method::chip;
  std::optional<std::size_t> protected_stage;  // of chip: that layer on the host
  double amount = 0;                           // of noise: its sigma; of dropout: its probability
};

// `network` with dropout of probability p behind every stage but the last.
workloads::Network with_dropout(workloads::Network network, double p);

class OverclockBench {
 public:
  OverclockBench(const BenchInputs& inputs, common::ThreadPool& pool);

  // Stays until the next call. `timing` null: no errors. Throws what Accelerator::load_timing throws.
  void set_point(const configs::ChipConfig& chip, std::shared_ptr<const faults::ChipTiming> timing);

  workloads::DeployedNetwork deploy(const workloads::Parameters& parameters,
                                    const workloads::ActivationScales& scales) const;

  // How the last layer's int32 results are compared (twin_accelerator.h): in steps of a 127th of the largest
  // logit of these images without errors. Empty if that layer leaves int8.
  WordScale word_scale(const workloads::DeployedNetwork& deployed, const workloads::ImageSet& images);
  // int8 at the point. With `count`, errors are counted, in words of that scale.
  Measured measure(const workloads::DeployedNetwork& deployed, const workloads::ImageSet& images,
                   std::optional<std::size_t> protected_stage, const WordScale* count = nullptr);
  // int8 without errors.
  Measured measure_error_free(const workloads::DeployedNetwork& deployed, const workloads::ImageSet& images);
  Hits measure_float(const workloads::Parameters& parameters, const workloads::ImageSet& images);

  // The weights after the configured number of steps. The order of images is the same for all methods. Goes
  // on from what a killed run of the same training left.
  workloads::Parameters train(const workloads::Parameters& start, const workloads::ActivationScales& scales,
                              const Training& training, const std::function<void(std::int64_t)>& progress,
                              Checkpointer& checkpointer);

 private:
  BenchInputs inputs_;
  common::ThreadPool& pool_;
  workloads::Masks masks_;
  std::unique_ptr<array::FunctionalAccelerator> chip_, error_free_;
};

}  // namespace kintsugi::training::overclock

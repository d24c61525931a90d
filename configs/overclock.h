// An overclocking campaign (configs/campaigns/overclock_*.yaml): a sweep of operating points, or of bit error
// rates, and what is trained and compared at each (training with computing errors, Xu et al., ASAP 2019).
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <vector>

#include "configs/campaign.h"

namespace kintsugi::configs {

// What a sweep changes. Frequencies and voltages need a chip with a `timing` section; bit error rates replace
// it.
enum class SweepKind { frequency, voltage, bit_error_rate };
// Where random bit errors strike; see faults::RandomErrors.
enum class ErrorTarget { activations, weights, psums, outputs };

struct OperatingSweep {
  SweepKind kind = SweepKind::frequency;
  std::vector<double> values;  // MHz ascending, volts descending, rates ascending: from mild to harsh
  ErrorTarget target = ErrorTarget::activations;
};

// The host that a protected layer runs on, and the link to it.
struct HostConfig {
  double gmac_per_s = 0;
  double link_gb_per_s = 0;
  double link_latency_us = 0;
};

struct OverclockConfig {
  std::filesystem::path file;
  std::filesystem::path chip;
  std::filesystem::path network;
  DatasetConfig dataset;
  std::int64_t decision_images = 5000;      // held out of the training images
  std::optional<std::uint64_t> split_seed;  // as in a Reduce campaign
  PretrainConfig pretrain;
  SgdConfig retrain;
  std::int64_t retrain_steps = 200;
  // Key `retrain.batch_norm: frozen | batch`: whose mean and variance batch-norm takes in retraining. A few
  // huge errors spoil those of a batch.
  bool freeze_batch_norm = true;
  QuantizationConfig quantization;
  OperatingSweep sweep;
  // Evaluation: images of each set that are used (the first ones), and how many pass the array in one job.
  std::optional<std::int64_t> evaluation_decision_images, evaluation_test_images;
  std::int64_t evaluation_batch = 100;
  double tipping_drop = 0.05;     // the original network's, that makes a point the tipping point
  double acceptable_drop = 0.05;  // of a retrained network
  double noise = 0.1;             // standard deviation relative to a layer's root mean square
  double dropout = 0.1;
  std::vector<std::uint64_t> other_chips;  // seeds of their variation, or of the random errors
  int neighbours = 1;                      // points on either side
  std::optional<HostConfig> host;
  ExecutorConfig executor;
};

// Throws common::InputError with every problem.
OverclockConfig read_overclock(const std::filesystem::path& file, const Overrides& overrides = {});

}  // namespace kintsugi::configs

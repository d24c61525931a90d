#include "training/overclock/overclock_bench.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <stdexcept>

#include "common/thread_pool.h"
#include "workloads/float_forward.h"
#include "workloads/inference.h"
#include "workloads/pruning_mask.h"

namespace kintsugi::training::overclock {
namespace {

constexpr std::int64_t kStepsPerReport = 5;
constexpr std::int64_t kTop = 5;

}  // namespace

Hits hits_of(const workloads::Tensor<float>& logits, const std::vector<std::int32_t>& labels) {
  const std::int64_t classes = logits.shape.at(1);
  Hits hits;
  for (std::size_t i = 0; i < labels.size(); ++i) {
    const float* const row = logits.data.data() + static_cast<std::int64_t>(i) * classes;
    const std::int64_t label = labels[i];
    std::int64_t before = 0;
    for (std::int64_t c = 0; c < classes; ++c)
      before += row[c] > row[label] || (row[c] == row[label] && c < label) ? 1 : 0;
    hits.top1.push_back(before == 0 ? 1 : 0);
    if (classes > kTop) hits.top5.push_back(before < kTop ? 1 : 0);
  }
  return hits;
}

workloads::Network with_dropout(workloads::Network network, double p) {
  for (std::size_t s = 0; s + 1 < network.stages.size(); ++s) network.stages[s].dropout = p;
  return network;
}

OverclockBench::OverclockBench(const BenchInputs& inputs, common::ThreadPool& pool)
    : inputs_(inputs), pool_(pool) {}

void OverclockBench::set_point(const configs::ChipConfig& chip,
                               std::shared_ptr<const faults::ChipTiming> timing) {
  masks_ = workloads::pruning_masks(*inputs_.network, *inputs_.faults, chip);
  chip_ = std::make_unique<array::FunctionalAccelerator>(chip, &pool_);
  chip_->load_faults(*inputs_.faults);
  if (timing) chip_->load_timing(std::move(timing));
  error_free_ = std::make_unique<array::FunctionalAccelerator>(chip, &pool_);
}

workloads::DeployedNetwork OverclockBench::deploy(const workloads::Parameters& parameters,
                                                  const workloads::ActivationScales& scales) const {
  workloads::DeployedNetwork deployed = workloads::deploy(*inputs_.network, parameters, scales, masks_);
  deployed.rows = inputs_.faults->rows;
  deployed.cols = inputs_.faults->cols;
  deployed.bypass = inputs_.faults->bypass;
  return deployed;
}

WordScale OverclockBench::word_scale(const workloads::DeployedNetwork& deployed,
                                     const workloads::ImageSet& images) {
  const workloads::DeployedStage& last = deployed.stages.back();
  WordScale scale;
  if (!last.requantization.empty()) return scale;
  scale.scale = last.output_scale;
  scale.bias = last.output_bias;
  const auto result = workloads::infer(*error_free_, *inputs_.network, deployed, images,
                                       inputs_.evaluation_batch, *inputs_.faults);
  float largest = 0;
  for (const float logit : result.logits.data) largest = std::max(largest, std::abs(logit));
  if (largest > 0) scale.step = static_cast<double>(largest) / 127;
  return scale;
}

Measured OverclockBench::measure(const workloads::DeployedNetwork& deployed,
                                 const workloads::ImageSet& images,
                                 std::optional<std::size_t> protected_stage, const WordScale* count) {
  const workloads::Network& network = *inputs_.network;
  TwinAccelerator twin(*chip_, *error_free_);
  Measured measured;
  measured.errors.resize(network.stages.size());
  std::map<std::string, std::size_t> stage_of;
  for (std::size_t s = 0; s < network.stages.size(); ++s) stage_of[network.stages[s].name] = s;
  workloads::LayerHooks hooks;
  hooks.begin = [&](const std::string& layer) {
    const std::size_t s = stage_of.at(layer);
    if (protected_stage == s)
      twin.run_on(RunOn::host);
    else if (count != nullptr)
      twin.run_on(RunOn::compare, &measured.errors[s], count);
    else
      twin.run_on(RunOn::chip);
  };
  auto result =
      workloads::infer(twin, network, deployed, images, inputs_.evaluation_batch, *inputs_.faults, {}, hooks);
  measured.hits = hits_of(result.logits, images.labels);
  measured.layers = std::move(result.layers);
  return measured;
}

Measured OverclockBench::measure_error_free(const workloads::DeployedNetwork& deployed,
                                            const workloads::ImageSet& images) {
  auto result = workloads::infer(*error_free_, *inputs_.network, deployed, images, inputs_.evaluation_batch,
                                 *inputs_.faults);
  Measured measured;
  measured.errors.resize(inputs_.network->stages.size());
  measured.hits = hits_of(result.logits, images.labels);
  measured.layers = std::move(result.layers);
  return measured;
}

Hits OverclockBench::measure_float(const workloads::Parameters& parameters,
                                   const workloads::ImageSet& images) {
  return hits_of(workloads::float_logits(*inputs_.network, parameters, images, {}, &pool_), images.labels);
}

workloads::Parameters OverclockBench::train(const workloads::Parameters& start,
                                            const workloads::ActivationScales& scales,
                                            const Training& training,
                                            const std::function<void(std::int64_t)>& progress,
                                            Checkpointer& checkpointer) {
  TrainerOptions options;
  options.sgd = inputs_.sgd;
  options.total_steps = inputs_.steps;
  options.seed = inputs_.seed;
  options.stream = "retrain";
  options.freeze_batch_norm = inputs_.freeze_batch_norm;
  workloads::Network network = *inputs_.network;
  std::optional<ChipInTheLoop> chip;
  switch (training.method) {
    case Method::chip:
      chip = ChipInTheLoop{chip_.get(), scales};
      if (training.protected_stage) {
        chip->host = error_free_.get();
        chip->on_host.resize(network.stages.size());
        chip->on_host.at(*training.protected_stage) = 1;
      }
      break;
    case Method::control:
      chip = ChipInTheLoop{error_free_.get(), scales};
      break;
    case Method::noise:
      options.output_noise = training.amount;
      break;
    case Method::dropout:
      network = with_dropout(std::move(network), training.amount);
      break;
  }
  Trainer trainer(network, start, *inputs_.training, options, masks_, chip, &pool_);
  if (checkpointer.left_behind()) checkpointer.resume(trainer);
  progress(trainer.steps_done());
  std::int64_t unreported = 0;
  while (trainer.steps_done() < inputs_.steps) {
    trainer.step();
    checkpointer.step_done(trainer, [] { return std::string(); });
    if (++unreported == kStepsPerReport) {
      progress(unreported);
      unreported = 0;
    }
  }
  progress(unreported);
  return trainer.parameters();
}

}  // namespace kintsugi::training::overclock

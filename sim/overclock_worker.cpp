#include "sim/overclock_worker.h"

#include <algorithm>
#include <filesystem>

#include "common/sha256.h"
#include "sim/scales_file.h"
#include "sim/task_checkpoints.h"
#include "workloads/float_forward.h"
#include "workloads/safetensors.h"

namespace kintsugi::sim {
namespace {

overclock::BenchInputs bench_inputs(const OverclockInputs& inputs) {
  const configs::OverclockConfig& config = inputs.config;
  return {&inputs.network,      &inputs.training,         &inputs.faults,          config.retrain,
          config.retrain_steps, config.freeze_batch_norm, config.evaluation_batch, inputs.seed};
}

}  // namespace

OverclockWorker::OverclockWorker(const OverclockInputs& inputs, const OverclockFolder& folder, int threads,
                                 double checkpoint_seconds)
    : inputs_(inputs),
      folder_(folder),
      checkpoint_seconds_(checkpoint_seconds),
      pool_(threads),
      bench_(bench_inputs(inputs), pool_) {}

const workloads::ImageSet& OverclockWorker::images(const std::string& set) const {
  return set == "test" ? inputs_.test : inputs_.decision;
}

const workloads::ActivationScales& OverclockWorker::scales() {
  if (!scales_) scales_ = read_scales(folder_.scales());
  return *scales_;
}

const workloads::Parameters& OverclockWorker::original() {
  if (!original_) {
    original_ = workloads::read_parameters(folder_.weights("original"));
    workloads::check_parameters(inputs_.network, *original_, folder_.weights("original").string());
  }
  return *original_;
}

void OverclockWorker::go_to(std::optional<std::size_t> point, std::optional<std::uint64_t> other_chip) {
  if (!point) return bench_.set_point(inputs_.chip, nullptr);
  auto& timing = timings_[{*point, other_chip}];
  if (!timing) timing = timing_at(inputs_, *point, other_chip);
  bench_.set_point(inputs_.points[*point].chip, timing);
}

void OverclockWorker::reference(const std::string& set) {
  // Those of the decision set are the first: whatever is there is left from before.
  if (set == "decision" || !std::filesystem::exists(folder_.scales())) {
    scales_.reset();
    configs::QuantizationConfig config = inputs_.config.quantization;
    config.images = std::min(config.images, inputs_.held_out.size());
    write_scales(folder_.scales(),
                 workloads::calibrate(inputs_.network, original(), inputs_.held_out, config, &pool_));
  }
  go_to(std::nullopt, std::nullopt);
  Reference reference;
  reference.int8 = bench_.measure_error_free(bench_.deploy(original(), scales()), images(set)).hits;
  reference.floating = bench_.measure_float(original(), images(set));
  reference.weights_sha256 = common::sha256_file(folder_.weights("original"));
  folder_.write_reference(set, reference);
}

void OverclockWorker::train(const OverclockModel& model, const ReportSteps& progress) {
  go_to(model.point, std::nullopt);
  training::Checkpointer checkpointer(
      checkpoints_beside(folder_.weights(model.name), checkpoint_seconds_, model.name));
  workloads::write_parameters(folder_.weights(model.name),
                              bench_.train(original(), scales(), model.training, progress, checkpointer));
  checkpointer.remove();
}

void OverclockWorker::evaluate(const Evaluation& evaluation) {
  const std::filesystem::path file = folder_.weights(evaluation.model);
  const workloads::Parameters weights = workloads::read_parameters(file);
  workloads::check_parameters(inputs_.network, weights, file.string());
  go_to(evaluation.point, evaluation.other_chip);
  const workloads::DeployedNetwork deployed = bench_.deploy(weights, scales());
  const workloads::ImageSet& set = images(evaluation.set);
  overclock::Measured measured;
  if (evaluation.count_errors) {
    const overclock::WordScale words = bench_.word_scale(deployed, set);
    measured = bench_.measure(deployed, set, evaluation.protected_stage, &words);
  } else {
    measured = bench_.measure(deployed, set, evaluation.protected_stage);
  }
  const Place place{evaluation.point ? inputs_.points[*evaluation.point].name : std::string(),
                    evaluation.other_chip};
  folder_.write_evaluation(evaluation.model, place, evaluation.set, measured, common::sha256_file(file));
}

}  // namespace kintsugi::sim

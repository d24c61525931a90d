#include "training/reduce/chip_bench.h"

#include <algorithm>
#include <stdexcept>

#include "common/thread_pool.h"
#include "training/loss.h"
#include "training/reduce/predictors.h"
#include "training/repair/batch_norm_recalibration.h"
#include "training/repair/compensation.h"
#include "training/repair/mapping.h"
#include "workloads/inference.h"
#include "workloads/pruning_mask.h"

namespace kintsugi::training::reduce {
namespace {

// Images per pass over the chip. Affects speed only: the array has no state between images.
constexpr std::int64_t kInferenceBatch = 500;
// Between two reports of progress.
constexpr std::int64_t kStepsPerReport = 20;

Correct compare(const std::vector<std::int32_t>& predicted, const std::vector<std::int32_t>& labels) {
  Correct correct(predicted.size());
  for (std::size_t i = 0; i < predicted.size(); ++i) correct[i] = predicted[i] == labels[i] ? 1 : 0;
  return correct;
}

double cross_entropy(const workloads::Tensor<float>& logits, std::span<const std::int32_t> labels) {
  const std::int64_t classes = logits.shape.at(1);
  std::vector<float> gradients(logits.data.size());
  return softmax_cross_entropy(logits.data.data(), labels, classes, 0, gradients.data()) /
         static_cast<double>(labels.size());
}

}  // namespace

NextMark each_of(std::vector<std::int64_t> marks) {
  return [marks = std::move(marks), next = std::size_t{0}]() mutable -> std::optional<std::int64_t> {
    if (next == marks.size()) return std::nullopt;
    return marks[next++];
  };
}

double forward_steps(std::int64_t images, int batch) {
  return static_cast<double>(images) / (3.0 * batch);
}

Score score(const Correct& now, const Correct& baseline) {
  if (now.size() != baseline.size()) throw std::logic_error("score: sets of different sizes");
  Score result;
  result.images = static_cast<std::int64_t>(now.size());
  for (std::size_t i = 0; i < now.size(); ++i) {
    result.correct += now[i];
    result.gained += now[i] != 0 && baseline[i] == 0 ? 1 : 0;
    result.lost += now[i] == 0 && baseline[i] != 0 ? 1 : 0;
  }
  return result;
}

std::int64_t count(const Correct& correct) {
  return std::count(correct.begin(), correct.end(), 1);
}

std::int64_t live_faulty_pes(const faults::ArrayFaults& faults) {
  std::int64_t live = 0;
  for (const faults::FaultyPe& pe : faults.faulty) {
    const bool hidden = faults.bypassed(pe.row, pe.col) && pe.hooks[pe::Site::psum_register].identity() &&
                        pe.hooks[pe::Site::activation_register].identity();
    live += hidden ? 0 : 1;
  }
  return live;
}

struct ChipBench::SharedRepair {
  // Of this network:
  workloads::Parameters original;
  workloads::ActivationScales scales;

  workloads::Parameters saliency;
  double saliency_multiply_adds = 0;
  std::unique_ptr<repair::Compensator> compensator;
};

ChipBench::ChipBench(const BenchInputs& inputs, common::ThreadPool& pool)
    : inputs_(inputs), network_(*inputs.network), pool_(pool), accelerator_(*inputs.chip, &pool) {
  insert_chip(faults::fault_free(inputs.chip->array.rows, inputs.chip->array.cols));
}

ChipBench::~ChipBench() = default;

void ChipBench::insert_chip(const faults::ArrayFaults& faults,
                            std::optional<faults::Unbypassable> unbypassable) {
  faults_ = faults;
  avoided_.reset();
  dropped_.reset();
  if (inputs_.repair.drop && unbypassable && unbypassable->any()) avoided_ = std::move(unbypassable);
  if (placement_) network_ = *inputs_.network;
  placement_.reset();
  masks_ = workloads::pruning_masks(network_, faults_, *inputs_.chip);
  accelerator_.load_faults(faults_);
}

void ChipBench::place_channels(const workloads::Placement& placement) {
  network_ = workloads::placed(*inputs_.network, placement);
  placement_ = placement;
  masks_ = avoided_ ? workloads::pruning_masks(network_, faults_, *inputs_.chip, *avoided_)
                    : workloads::pruning_masks(network_, faults_, *inputs_.chip);
}

Predictors ChipBench::pruned(const workloads::Parameters& original) const {
  if (!placement_) return pruned_shares(*inputs_.network, original, masks_);
  workloads::Parameters kept;
  for (const auto& [name, mask] : masks_)
    kept[name] = {mask.shape, std::vector<float>(mask.data.begin(), mask.data.end())};
  workloads::Masks as_written;
  for (const auto& [name, mask] : workloads::take_back(*inputs_.network, kept, *placement_))
    as_written[name] = {mask.shape, std::vector<std::uint8_t>(mask.data.begin(), mask.data.end())};
  return pruned_shares(*inputs_.network, original, as_written);
}

double ChipBench::step_multiply_adds() const {
  double macs = 0;
  for (const workloads::Stage& stage : inputs_.network->stages) macs += static_cast<double>(stage.macs());
  return 3 * macs * inputs_.sgd.batch;  // forward, data gradients, weight gradients
}

workloads::Parameters ChipBench::as_written(const workloads::Parameters& parameters) const {
  return placement_ ? workloads::take_back(*inputs_.network, parameters, *placement_) : parameters;
}

workloads::ImageSet ChipBench::first_images(std::int64_t count) const {
  return inputs_.training->first(std::min(count, inputs_.training->size()));
}

double ChipBench::forward_multiply_adds(std::int64_t images) const {
  return step_multiply_adds() / 3 / inputs_.sgd.batch * static_cast<double>(images);
}

double ChipBench::shared_repair_steps() const {
  if (!shared_repair_) return 0;
  const auto& compensator = shared_repair_->compensator;
  return (shared_repair_->saliency_multiply_adds +
          (compensator != nullptr ? compensator->shared_multiply_adds() : 0)) /
         step_multiply_adds();
}

void ChipBench::share_repair(const workloads::Parameters& original,
                             const workloads::ActivationScales& scales) {
  if (shared_repair_ && shared_repair_->scales == scales && shared_repair_->original == original) return;
  const configs::RepairConfig& config = inputs_.repair;
  SharedRepair shared{original, scales, {}, 0, nullptr};
  if (config.mapping) {
    constexpr std::int64_t kImages = 1000;
    if (config.mapping->saliency == configs::Saliency::output)
      shared.saliency_multiply_adds = forward_multiply_adds(kImages);
    shared.saliency = repair::weight_saliency(*inputs_.network, original, config.mapping->saliency,
                                              first_images(kImages), &pool_);
  }
  if (config.compensation) {
    repair::CompensationOptions options;
    options.ridge = config.compensation->ridge;
    shared.compensator = std::make_unique<repair::Compensator>(
        *inputs_.network, original, scales, first_images(config.compensation->images), options, &pool_);
  }
  shared_repair_ = std::make_unique<SharedRepair>(std::move(shared));
}

workloads::Parameters ChipBench::repair(const workloads::Parameters& original,
                                        const workloads::ActivationScales& scales) {
  const configs::RepairConfig& config = inputs_.repair;
  repair_steps_ = {};
  repair_seconds_ = {};
  workloads::Parameters parameters = original;
  if (faults_.bypassed_pes() == 0) return parameters;
  common::Stopwatch watch;
  share_repair(original, scales);
  repair_seconds_.shared = watch.elapsed();
  if (config.mapping) {
    watch = {};
    const auto map = [&] {
      repair::MappingOptions options;
      options.spare_columns = config.mapping->spare_columns;
      if (avoided_) options.drop = repair::DropOptions{*avoided_, config.drop->max_cycle_factor};
      return repair::map_around_faults(*inputs_.network, shared_repair_->saliency, faults_, *inputs_.chip,
                                       options);
    };
    repair::Mapping mapping = map();
    dropped_ = mapping.dropped;
    if (dropped_ && !dropped_->problem.empty()) {
      avoided_.reset();  // repaired as if they were not known
      mapping = map();
    }
    place_channels(mapping.placement);
    parameters = workloads::place(*inputs_.network, original, mapping.placement);
    repair_steps_.mapping = mapping.multiply_adds / step_multiply_adds();
    repair_seconds_.mapping = watch.elapsed();
  }
  if (config.compensation) {
    watch = {};
    repair::Compensation result =
        shared_repair_->compensator->run(accelerator_, masks_, faults_, placement());
    parameters = std::move(result.parameters);
    repair_steps_.compensation = result.multiply_adds / step_multiply_adds();
    repair_seconds_.compensation = watch.elapsed();
  }
  if (config.batch_norm && repair::has_batch_norm(network_)) {
    watch = {};
    const workloads::ImageSet chosen = first_images(config.batch_norm->images);
    parameters = repair::recalibrate_batch_norm(
        network_, std::move(parameters), masks_, ChipInTheLoop{&accelerator_, scales}, chosen,
        std::min<std::int64_t>(inputs_.sgd.batch, chosen.size()), inputs_.sgd.augment, inputs_.seed, pool_);
    repair_steps_.batch_norm = forward_steps(chosen.size(), inputs_.sgd.batch);
    repair_seconds_.batch_norm = watch.elapsed();
  }
  workloads::apply_masks(parameters, masks_);
  return parameters;
}

workloads::DeployedNetwork ChipBench::deploy(const workloads::Parameters& parameters,
                                             const workloads::ActivationScales& scales) const {
  workloads::DeployedNetwork deployed = workloads::deploy(network_, parameters, scales, masks_);
  deployed.rows = faults_.rows;
  deployed.cols = faults_.cols;
  deployed.bypass = faults_.bypass;
  return deployed;
}

Correct ChipBench::run(const workloads::DeployedNetwork& deployed, const workloads::ImageSet& images,
                       const faults::ArrayFaults& faults, double* mean_loss) {
  const auto result = workloads::infer(accelerator_, network_, deployed, images, kInferenceBatch, faults);
  if (mean_loss != nullptr) *mean_loss = cross_entropy(result.logits, images.labels);
  return compare(result.predicted, images.labels);
}

Correct ChipBench::measure(const workloads::DeployedNetwork& deployed, const workloads::ImageSet& images,
                           double* mean_loss) {
  return run(deployed, images, faults_, mean_loss);
}

Correct ChipBench::measure_fault_free(const workloads::DeployedNetwork& deployed,
                                      const workloads::ImageSet& images) {
  const faults::ArrayFaults clean = faults::fault_free(faults_.rows, faults_.cols);
  accelerator_.load_faults(clean);
  Correct correct = run(deployed, images, clean);
  accelerator_.load_faults(faults_);
  return correct;
}

Correct ChipBench::measure_float(const workloads::Parameters& parameters, const workloads::ImageSet& images) {
  return compare(workloads::float_predictions(network_, parameters, images, &pool_), images.labels);
}

std::int64_t ChipBench::retrain(const workloads::Parameters& start, const workloads::ActivationScales& scales,
                                const std::string& stream, const NextMark& next_mark, const AtMark& at_mark,
                                const std::function<void(std::int64_t)>& progress,
                                const Resumable& resumable) {
  Checkpointer none;
  Checkpointer& checkpointer = resumable.checkpointer != nullptr ? *resumable.checkpointer : none;
  std::optional<std::string> left = checkpointer.left_behind();
  const std::int64_t passed = left ? resumable.restore(*left) : -1;  // marks up to here are recorded
  workloads::Parameters pruned = start;
  workloads::apply_masks(pruned, masks_);
  const bool one_run = inputs_.sgd.schedule.kind == configs::ScheduleKind::constant;
  std::unique_ptr<Trainer> trainer;
  std::int64_t before = 0;  // steps of earlier runs
  for (auto mark = next_mark(); mark; mark = next_mark()) {
    if (*mark <= passed) {
      if (!one_run) before += *mark;
      continue;
    }
    if (*mark == 0) {
      at_mark(0, pruned);
      continue;
    }
    if (!trainer || !one_run) {
      const bool first = !trainer;
      if (!first) before += trainer->steps_done();
      TrainerOptions options;
      options.sgd = inputs_.sgd;
      options.total_steps = *mark;  // read by no constant schedule
      options.seed = inputs_.seed;
      options.stream = stream;
      std::optional<ChipInTheLoop> chip;
      if (inputs_.forward == configs::Forward::chip) chip = ChipInTheLoop{&accelerator_, scales};
      trainer.reset();  // first: there is memory for one
      trainer = std::make_unique<Trainer>(network_, pruned, *inputs_.training, options, masks_, chip, &pool_);
      // A state of an earlier mark's run is of no more use; what was recorded there is.
      if (left) checkpointer.resume(*trainer);
      left.reset();
      if (first) progress(before + trainer->steps_done());  // what was done before this call
    }
    std::int64_t unreported = 0;
    while (trainer->steps_done() < *mark) {
      trainer->step();
      if (++unreported == kStepsPerReport) {
        progress(unreported);
        unreported = 0;
      }
      // Not at the mark, which is not recorded yet.
      if (trainer->steps_done() < *mark) checkpointer.step_done(*trainer, resumable.text);
    }
    progress(unreported);
    at_mark(*mark, trainer->parameters());
  }
  return before + (trainer ? trainer->steps_done() : 0);
}

}  // namespace kintsugi::training::reduce

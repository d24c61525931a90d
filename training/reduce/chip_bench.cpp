#include "training/reduce/chip_bench.h"

#include <algorithm>
#include <stdexcept>

#include "common/thread_pool.h"
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

}  // namespace

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

ChipBench::ChipBench(const BenchInputs& inputs, common::ThreadPool& pool)
    : inputs_(inputs), pool_(pool), accelerator_(*inputs.chip, &pool) {
  insert_chip(faults::fault_free(inputs.chip->array.rows, inputs.chip->array.cols));
}

void ChipBench::insert_chip(const faults::ArrayFaults& faults) {
  faults_ = faults;
  masks_ = workloads::pruning_masks(*inputs_.network, faults_, *inputs_.chip);
  accelerator_.load_faults(faults_);
}

workloads::DeployedNetwork ChipBench::deploy(const workloads::Parameters& parameters,
                                             const workloads::ActivationScales& scales) const {
  workloads::DeployedNetwork deployed = workloads::deploy(*inputs_.network, parameters, scales, masks_);
  deployed.rows = faults_.rows;
  deployed.cols = faults_.cols;
  deployed.bypass = faults_.bypass;
  return deployed;
}

Correct ChipBench::run(const workloads::DeployedNetwork& deployed, const workloads::ImageSet& images,
                       const faults::ArrayFaults& faults) {
  const auto result =
      workloads::infer(accelerator_, *inputs_.network, deployed, images, kInferenceBatch, faults);
  return compare(result.predicted, images.labels);
}

Correct ChipBench::measure(const workloads::DeployedNetwork& deployed, const workloads::ImageSet& images) {
  return run(deployed, images, faults_);
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
  return compare(workloads::float_predictions(*inputs_.network, parameters, images, &pool_), images.labels);
}

void ChipBench::retrain(const workloads::Parameters& start, const workloads::ActivationScales& scales,
                        const std::string& stream, std::span<const std::int64_t> marks, const AtMark& at_mark,
                        const std::function<void(std::int64_t)>& progress) {
  if (marks.empty()) return;
  workloads::Parameters pruned = start;
  workloads::apply_masks(pruned, masks_);
  if (marks.front() == 0) {
    at_mark(0, pruned);
    marks = marks.subspan(1);
    if (marks.empty()) return;
  }
  TrainerOptions options;
  options.sgd = inputs_.sgd;
  options.total_steps = marks.back();  // read by no constant schedule
  options.seed = inputs_.seed;
  options.stream = stream;
  std::optional<ChipInTheLoop> chip;
  if (inputs_.forward == configs::Forward::chip) chip = ChipInTheLoop{&accelerator_, scales};
  Trainer trainer(*inputs_.network, std::move(pruned), *inputs_.training, options, masks_, chip, &pool_);
  for (const std::int64_t mark : marks) {
    std::int64_t unreported = 0;
    while (trainer.steps_done() < mark) {
      trainer.step();
      if (++unreported == kStepsPerReport) {
        progress(unreported);
        unreported = 0;
      }
    }
    progress(unreported);
    at_mark(mark, trainer.parameters());
  }
}

}  // namespace kintsugi::training::reduce

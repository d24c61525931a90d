#include "sim/pretraining.h"

#include <cmath>

#include "common/thread_pool.h"
#include "training/trainer.h"
#include "workloads/float_forward.h"
#include "workloads/safetensors.h"

namespace kintsugi::sim {
namespace {

constexpr std::int64_t kStepsPerReport = 20;

}  // namespace

std::int64_t Pretraining::steps() const {
  if (config.weights) return 0;
  const std::int64_t per_epoch = images.size() / config.sgd.batch;
  return std::llround(config.epochs * static_cast<double>(per_epoch));
}

void Pretraining::run(const std::filesystem::path& file, int threads, const ReportSteps& progress) const {
  common::ThreadPool pool(threads);
  workloads::Parameters weights;
  if (config.weights) {
    weights = workloads::read_parameters(*config.weights);
    workloads::check_parameters(network, weights, config.weights->string());
  } else {
    training::TrainerOptions options;
    options.sgd = config.sgd;
    options.total_steps = steps();
    options.seed = seed;
    options.stream = "pretrain";
    training::Trainer trainer(network, workloads::initial_parameters(network, seed), images, options, {},
                              std::nullopt, &pool);
    for (std::int64_t step = 1; step <= options.total_steps; ++step) {
      trainer.step();
      if (step % kStepsPerReport == 0) progress(kStepsPerReport);
    }
    weights = trainer.parameters();
  }
  workloads::write_parameters(file, weights);
}

}  // namespace kintsugi::sim

#include "sim/pretraining.h"

#include <spdlog/spdlog.h>

#include <cmath>
#include <system_error>

#include "common/diagnostics.h"
#include "common/thread_pool.h"
#include "sim/task_checkpoints.h"
#include "training/trainer.h"
#include "workloads/float_forward.h"
#include "workloads/safetensors.h"

namespace kintsugi::sim {
namespace {

constexpr std::int64_t kStepsPerReport = 20;

}  // namespace

bool has_whole_weights(const std::filesystem::path& file) {
  std::error_code code;
  if (!std::filesystem::exists(file, code)) return false;
  try {
    workloads::read_safetensors(file);
    return true;
  } catch (const common::InputError& error) {
    spdlog::warn("{}; it is made again", error.what());
    return false;
  }
}

std::int64_t Pretraining::steps() const {
  if (config.weights) return 0;
  const std::int64_t per_epoch = images.size() / config.sgd.batch;
  return std::llround(config.epochs * static_cast<double>(per_epoch));
}

void Pretraining::run(const std::filesystem::path& file, int threads, double checkpoint_seconds,
                      const ReportSteps& progress) const {
  training::Checkpointer checkpointer(checkpoints_beside(file, checkpoint_seconds, "pretraining"));
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
    if (checkpointer.left_behind()) checkpointer.resume(trainer);
    progress(trainer.steps_done());
    while (trainer.steps_done() < options.total_steps) {
      trainer.step();
      if (trainer.steps_done() % kStepsPerReport == 0) progress(kStepsPerReport);
      checkpointer.step_done(trainer, [] { return std::string(); });
    }
    weights = trainer.parameters();
  }
  workloads::write_parameters(file, weights);
  checkpointer.remove();
}

}  // namespace kintsugi::sim

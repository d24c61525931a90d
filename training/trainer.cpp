#include "training/trainer.h"

#include <fmt/format.h>

#include <cmath>

#include "common/diagnostics.h"
#include "common/thread_pool.h"
#include "training/batch_pass.h"
#include "training/batch_source.h"
#include "training/checkpoint.h"
#include "training/learning_rate.h"
#include "training/sgd.h"
#include "workloads/float_forward.h"
#include "workloads/pruning_mask.h"

namespace kintsugi::training {
namespace {

using common::InputError;

void check_options(const TrainerOptions& options, bool with_chip) {
  const configs::SgdConfig& sgd = options.sgd;
  if (sgd.batch < 1) throw InputError(fmt::format("a mini-batch of {} images; at least 1", sgd.batch));
  if (sgd.schedule.kind != configs::ScheduleKind::constant && options.total_steps < 1) {
    throw InputError(
        "a learning-rate schedule other than constant needs the number of steps of the whole run");
  }
  if (!(options.output_noise >= 0) || !std::isfinite(options.output_noise)) {
    throw InputError(fmt::format("a noise of {}; it must be a number of at least 0", options.output_noise));
  }
  if (options.output_noise > 0 && with_chip) {
    throw InputError(
        "noise on a layer's results belongs to a float forward pass; leave out the chip or the noise");
  }
}

void check_masks(const workloads::Parameters& parameters, const workloads::Masks& masks) {
  for (const auto& [name, mask] : masks) {
    const auto found = parameters.find(name);
    if (found == parameters.end() || found->second.shape != mask.shape) {
      throw InputError(fmt::format("a mask for {} does not fit the network's parameters", name));
    }
  }
}

}  // namespace

struct Trainer::Impl {
  Impl(const workloads::Network& net, workloads::Parameters start, const workloads::ImageSet& set,
       const TrainerOptions& opts, workloads::Masks mask, std::optional<ChipInTheLoop> loop,
       common::ThreadPool* shared)
      : network(net),
        images(set),
        options(opts),
        masks(std::move(mask)),
        chip(std::move(loop)),
        own_pool(shared ? nullptr : std::make_unique<common::ThreadPool>(1)),
        pool(shared ? *shared : *own_pool),
        parameters(std::move(start)),
        source(net, set, opts.sgd.batch, opts.sgd.augment, opts.seed, opts.stream),
        pass(net, opts.sgd.batch, pool, chip, opts.sgd.backward, opts.freeze_batch_norm),
        sgd(opts.sgd, pass.gradients()),
        labels(opts.sgd.batch) {
    workloads::apply_masks(parameters, masks);
    start_digest = parameters_digest(parameters);
  }

  const std::string& identity() const {
    if (known_identity.empty()) {
      known_identity = run_identity(network, start_digest, images, options, masks, chip);
    }
    return known_identity;
  }

  const workloads::Network& network;
  const workloads::ImageSet& images;
  TrainerOptions options;
  workloads::Masks masks;
  std::optional<ChipInTheLoop> chip;
  std::unique_ptr<common::ThreadPool> own_pool;  // before what creates oneDNN primitives
  common::ThreadPool& pool;
  workloads::Parameters parameters;
  std::string start_digest;  // for the identity, which is only worked out for checkpoints
  BatchSource source;
  BatchPass pass;
  Sgd sgd;
  std::vector<std::int32_t> labels;
  std::int64_t steps = 0;
  mutable std::string known_identity;
};

Trainer::Trainer(const workloads::Network& network, workloads::Parameters start,
                 const workloads::ImageSet& images, const TrainerOptions& options, workloads::Masks masks,
                 std::optional<ChipInTheLoop> chip, common::ThreadPool* pool) {
  check_options(options, chip.has_value());
  workloads::check_dataset(images, network, {images.name, 0, 0});
  workloads::check_parameters(network, start, "start weights");
  check_masks(start, masks);
  impl_ = std::make_unique<Impl>(network, std::move(start), images, options, std::move(masks),
                                 std::move(chip), pool);
}

Trainer::~Trainer() = default;

double Trainer::step() {
  Impl& self = *impl_;
  self.source.load(self.steps, self.pass.input(), self.labels, self.pool);
  const double loss =
      self.pass.run(self.parameters, self.labels,
                    {self.options.seed, self.options.stream, self.steps, self.options.output_noise});
  if (!std::isfinite(loss)) {
    throw InputError(
        fmt::format("training diverged at step {}: the loss is no longer a number; lower the "
                    "learning rate ({})",
                    self.steps + 1, self.options.sgd.learning_rate));
  }
  self.sgd.step(self.parameters, self.pass.gradients(), self.masks,
                learning_rate(self.options.sgd, self.steps, self.options.total_steps), self.pool);
  ++self.steps;
  return loss;
}

std::int64_t Trainer::steps_done() const {
  return impl_->steps;
}
std::int64_t Trainer::steps_per_epoch() const {
  return impl_->source.steps_per_epoch();
}
const workloads::Parameters& Trainer::parameters() const {
  return impl_->parameters;
}

void Trainer::save(const std::filesystem::path& file, const std::map<std::string, std::string>& notes) const {
  write_checkpoint(file, {impl_->steps, impl_->parameters, impl_->sgd.momentum()}, impl_->identity(), notes);
}

void Trainer::load(const std::filesystem::path& file) {
  RunState state = read_checkpoint(file, impl_->identity(), {0, impl_->parameters, impl_->sgd.momentum()});
  impl_->steps = state.steps;
  impl_->parameters = std::move(state.parameters);
  impl_->sgd.momentum() = std::move(state.momentum);
}

}  // namespace kintsugi::training

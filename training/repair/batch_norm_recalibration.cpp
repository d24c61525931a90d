#include "training/repair/batch_norm_recalibration.h"

#include <fmt/format.h>

#include <algorithm>

#include "common/diagnostics.h"
#include "common/thread_pool.h"
#include "training/batch_pass.h"
#include "training/batch_source.h"
#include "workloads/pruning_mask.h"

namespace kintsugi::training::repair {

bool has_batch_norm(const workloads::Network& network) {
  return std::any_of(network.stages.begin(), network.stages.end(),
                     [](const workloads::Stage& stage) { return stage.batch_norm.has_value(); });
}

workloads::Parameters recalibrate_batch_norm(const workloads::Network& network,
                                             workloads::Parameters parameters, const workloads::Masks& masks,
                                             const ChipInTheLoop& chip, const workloads::ImageSet& images,
                                             std::int64_t batch, bool augment, std::uint64_t seed,
                                             common::ThreadPool& pool) {
  const std::int64_t batches = images.size() / batch;
  if (batches < 1)
    throw common::InputError(fmt::format(
        "batch-norm recalibration has {} images for mini-batches of {}; give it at least one batch",
        images.size(), batch));
  workloads::apply_masks(parameters, masks);
  // The forward half of training passes. Their running statistics become a plain average if the
  // i-th batch has a weight of 1/i.
  workloads::Network averaging = network;
  for (workloads::Stage& stage : averaging.stages) stage.dropout = 0;
  BatchPass pass(averaging, batch, pool, chip);
  BatchSource source(network, images, batch, augment, seed, "recalibrate");
  std::vector<std::int32_t> labels(static_cast<std::size_t>(batch));
  for (std::int64_t i = 0; i < batches; ++i) {
    for (workloads::Stage& stage : averaging.stages)
      if (stage.batch_norm) stage.batch_norm->momentum = 1.0 / static_cast<double>(i + 1);
    source.load(i, pass.input(), labels, pool);
    pass.forward(parameters, {});
  }
  return parameters;
}

}  // namespace kintsugi::training::repair

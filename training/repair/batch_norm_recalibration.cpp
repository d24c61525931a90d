#include "training/repair/batch_norm_recalibration.h"

#include <fmt/format.h>

#include <algorithm>

#include "common/diagnostics.h"
#include "common/thread_pool.h"
#include "training/batch_pass.h"
#include "workloads/pruning_mask.h"

namespace kintsugi::training::repair {

bool has_batch_norm(const workloads::Network& network) {
  return std::any_of(network.stages.begin(), network.stages.end(),
                     [](const workloads::Stage& stage) { return stage.batch_norm.has_value(); });
}

workloads::Parameters recalibrate_batch_norm(const workloads::Network& network,
                                             workloads::Parameters parameters, const workloads::Masks& masks,
                                             const ChipInTheLoop& chip, const workloads::ImageSet& images,
                                             std::int64_t batch, common::ThreadPool& pool) {
  const std::int64_t batches = images.size() / batch;
  if (batches < 1)
    throw common::InputError(fmt::format(
        "batch-norm recalibration has {} images for mini-batches of {}; give it at least one batch",
        images.size(), batch));
  workloads::apply_masks(parameters, masks);
  // A training pass without a step of gradient descent. Its running statistics become a plain average if the
  // i-th batch has a weight of 1/i.
  workloads::Network averaging = network;
  for (workloads::Stage& stage : averaging.stages) stage.dropout = 0;
  BatchPass pass(averaging, batch, pool, chip);
  const workloads::FeatureShape shape = network.input_shape();
  const std::int64_t area = shape.height * shape.width;
  std::vector<float> pixels(pass.input().size());
  for (std::int64_t i = 0; i < batches; ++i) {
    for (workloads::Stage& stage : averaging.stages)
      if (stage.batch_norm) stage.batch_norm->momentum = 1.0 / static_cast<double>(i + 1);
    workloads::normalize(images, i * batch, batch, network.input, pixels);
    const std::span<float> input = pass.input();
    if (network.stages.front().convolution) {
      for (std::int64_t image = 0; image < batch; ++image)
        for (std::int64_t c = 0; c < shape.channels; ++c)
          for (std::int64_t at = 0; at < area; ++at)
            input[(image * area + at) * shape.channels + c] =
                pixels[(image * shape.channels + c) * area + at];
    } else {
      std::copy(pixels.begin(), pixels.end(), input.begin());
    }
    pass.run(parameters, std::span(images.labels).subspan(i * batch, batch), {});
  }
  return parameters;
}

}  // namespace kintsugi::training::repair

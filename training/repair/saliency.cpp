#include <cmath>

#include "training/repair/mapping.h"
#include "workloads/float_forward.h"

namespace kintsugi::training::repair {

using workloads::Network;
using workloads::Stage;

workloads::Parameters weight_saliency(const Network& network, const workloads::Parameters& parameters,
                                      Saliency kind, const workloads::ImageSet& images,
                                      common::ThreadPool* pool) {
  // By stage and input channel (value, if flattened): mean square.
  std::vector<std::vector<double>> squares(network.stages.size());
  if (kind == Saliency::output)
    workloads::float_logits(
        network, parameters, images,
        [&](std::size_t s, std::span<const float> values, workloads::Observed what) {
          if (what != workloads::Observed::input) return;
          const Stage& stage = network.stages[s];
          const std::int64_t channels = stage.in.channels, pixels = stage.in.height * stage.in.width;
          squares[s].resize(static_cast<std::size_t>(channels), 0);
          for (std::int64_t image = 0; image < std::ssize(values) / stage.in.count(); ++image)
            for (std::int64_t c = 0; c < channels; ++c) {
              double sum = 0;
              const float* at = values.data() + (image * channels + c) * pixels;
              for (std::int64_t p = 0; p < pixels; ++p) sum += static_cast<double>(at[p]) * at[p];
              squares[s][c] += sum / static_cast<double>(pixels * images.size());
            }
        },
        pool);
  workloads::Parameters result;
  for (std::size_t s = 0; s < network.stages.size(); ++s) {
    const Stage& stage = network.stages[s];
    if (!stage.on_chip()) continue;
    workloads::Tensor<float> weight = parameters.at(stage.name + ".weight");
    const std::int64_t inputs = stage.in.channels / stage.groups, window = stage.kernel * stage.kernel;
    const std::int64_t per_group = stage.gemm_out.channels / stage.groups;
    for (std::size_t i = 0; i < weight.data.size(); ++i) {
      const double w = weight.data[i];
      const auto output = static_cast<std::int64_t>(i) / (inputs * window);
      const std::int64_t input = static_cast<std::int64_t>(i) / window % inputs + output / per_group * inputs;
      const double value = kind == Saliency::magnitude ? std::fabs(w)
                           : kind == Saliency::square  ? w * w
                                                       : w * w * squares[s][input];
      weight.data[i] = static_cast<float>(value);
    }
    result[stage.name + ".weight"] = std::move(weight);
  }
  return result;
}

}  // namespace kintsugi::training::repair

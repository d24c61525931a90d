#include "training/chip_forward.h"

#include <fmt/format.h>

#include <algorithm>

#include "common/diagnostics.h"

namespace kintsugi::training {

using workloads::Stage;

ChipForward::ChipForward(const workloads::Network& network, std::int64_t batch, const ChipInTheLoop& chip)
    : network_(&network), batch_(batch), chip_(chip) {
  const auto& scales = chip_.scales;
  if (scales.input.size() != network.stages.size() || scales.before_average.size() != network.stages.size()) {
    throw common::InputError(
        fmt::format("activation scales for {} stages do not fit network {}, which has {}",
                    scales.input.size(), network.name, network.stages.size()));
  }
  std::int64_t in = 0, weight = 0, out = 0;
  for (std::size_t s = 0; s < network.stages.size(); ++s) {
    const Stage& stage = network.stages[s];
    if (stage.on_chip()) {
      in = std::max(in, stage.in.count() * batch);
      weight = std::max(weight, stage.weight_count());
      out = std::max(out, stage.gemm_out.count() * batch);
    }
    const bool second = stage.inputs.size() > 1;
    if (second && scales.second_input.size() != network.stages.size()) {
      throw common::InputError(
          fmt::format("layer {}: the activation scales hold none for its second input, so "
                      "they are not those of network {}",
                      stage.name, network.name));
    }
    if (!(scales.input[s] > 0) || (stage.global_avg_pool && !(scales.before_average[s] > 0)) ||
        (second && !(scales.second_input[s] > 0))) {
      throw common::InputError(
          fmt::format("layer {}: its activation scale is not a positive number", stage.name));
    }
  }
  for (std::size_t s = 0; s + 1 < network.stages.size(); ++s) {
    result_scales_.push_back(static_cast<float>(workloads::scale_of_result(network, scales, s)));
  }
  const auto aligned = [](std::int64_t bytes) { return (bytes + 63) / 64 * 64; };
  weights_ = aligned(in);
  output_ = weights_ + aligned(weight);
  const std::uint64_t end = output_ + aligned(out * 4);
  if (end > chip_.accelerator->memory_bytes()) {
    throw common::InputError(
        fmt::format("a batch of {} images of network {} needs {} bytes of device memory, the chip has {}; "
                    "take a smaller batch",
                    batch, network.name, end, chip_.accelerator->memory_bytes()));
  }
  accumulators_.resize(out);
}

void ChipForward::quantize(std::span<const float> values, float scale, std::span<std::int8_t> q) {
  chip_.accelerator->float_to_int(values, scale, q);
}

void ChipForward::run(std::size_t stage_index, const workloads::Tensor<float>& weight,
                      std::span<const std::int8_t> x, float x_scale, std::span<float> z,
                      std::span<float> seen_weight) {
  const Stage& stage = network_->stages[stage_index];
  array::Accelerator& device = *chip_.accelerator;
  workloads::quantize_weight(weight, weight_scales_, quantized_);
  const std::vector<std::int8_t> matrix = workloads::device_weight(stage, quantized_);
  device.data_to_device(weights_, std::as_bytes(std::span(matrix)));
  device.data_to_device(activations_, std::as_bytes(x));

  array::LayerLaunch launch;
  launch.shape = stage.layer_shape(batch_);
  launch.activations = activations_;
  launch.weights = weights_;
  launch.output = output_;
  device.launch(launch);
  const auto accumulators = std::span(accumulators_).first(z.size());
  device.data_from_device(output_, std::as_writable_bytes(accumulators));

  const std::int64_t channels = stage.gemm_out.channels;
  output_scales_.resize(channels);
  for (std::int64_t c = 0; c < channels; ++c) output_scales_[c] = x_scale * weight_scales_[c];
  device.int_to_float(accumulators, output_scales_, z);

  const std::int64_t per_channel = stage.weight_count() / channels;
  for (std::int64_t c = 0; c < channels; ++c) {
    const float scale = weight_scales_[c];
    const std::int8_t* const q = quantized_.data.data() + c * per_channel;
    float* const w = seen_weight.data() + c * per_channel;
    for (std::int64_t i = 0; i < per_channel; ++i) w[i] = static_cast<float>(q[i]) * scale;
  }
}

}  // namespace kintsugi::training

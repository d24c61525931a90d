#include "workloads/deployed.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "common/diagnostics.h"
#include "workloads/float_forward.h"
#include "workloads/pruning_mask.h"

namespace kintsugi::workloads {

namespace {

// What follows a GEMM, as one multiply and add per channel: y = factor · (acc · scale) + bias.
struct Affine {
  double factor = 1, bias = 0;
};

std::vector<Affine> fold(const Stage& stage, const Parameters& parameters) {
  const auto channels = static_cast<std::size_t>(stage.gemm_out.channels);
  std::vector<Affine> result(channels);
  if (stage.bias)
    for (std::size_t c = 0; c < channels; ++c) result[c].bias = parameters.at(stage.name + ".bias").data[c];
  if (!stage.batch_norm) return result;
  const auto part = [&](const char* name) -> const std::vector<float>& {
    return parameters.at(stage.batch_norm->name + name).data;
  };
  for (std::size_t c = 0; c < channels; ++c) {
    result[c].factor =
        part(".weight")[c] / std::sqrt(double{part(".running_var")[c]} + stage.batch_norm->eps);
    result[c].bias = result[c].factor * (result[c].bias - part(".running_mean")[c]) + part(".bias")[c];
  }
  return result;
}

// The record for q = round(acc · factor + bias), |multiplier| as large as 32 bits allow. A factor so small
// that the largest shift cannot show it, or a bias that needs the room, gets a smaller multiplier, at worst
// 0.
array::Requantization choose_requantization(double factor, double bias, const std::string& where) {
  if (!std::isfinite(factor) || !std::isfinite(bias))
    throw common::InputError(fmt::format(
        "{}: the weights or batch-norm statistics are not finite numbers; such a network cannot be deployed",
        where));
  int exponent = 0;
  std::frexp(factor, &exponent);
  // |factor| · 2^shift lies in [2^30, 2^31) unless rounding lifts it to 2^31.
  int shift = factor == 0 ? 31 : 31 - exponent;
  if (factor != 0 && std::round(std::ldexp(std::fabs(factor), shift)) >= 0x1p31) --shift;
  shift = std::min(shift, 62);
  // |acc · multiplier| ≤ 2^62, so an offset below 2^62 keeps every sum below 2^63.
  while (shift >= 1 && std::fabs(std::ldexp(bias, shift)) + std::ldexp(1.0, shift - 1) >= 0x1p62) --shift;
  if (shift < 1)
    throw common::InputError(fmt::format(
        "{}: one step of the accumulator is worth {:g} steps of the int8 result and the bias {:g}; the shift "
        "would leave its range 1 … 62. Rescale this channel, or calibrate on images that reach its "
        "activations",
        where, factor, bias));
  array::Requantization record;
  record.shift = shift;
  record.multiplier = static_cast<std::int32_t>(std::nearbyint(std::ldexp(factor, shift)));
  record.offset =
      static_cast<std::int64_t>(std::nearbyint(std::ldexp(bias, shift))) + (std::int64_t{1} << (shift - 1));
  return record;
}

}  // namespace

void quantize_weight(const Tensor<float>& weight, std::vector<float>& scales,
                     Tensor<std::int8_t>& quantized) {
  const auto channels = static_cast<std::size_t>(weight.shape.at(0));
  const std::size_t per_channel = weight.data.size() / channels;
  quantized.shape = weight.shape;
  quantized.data.resize(weight.data.size());
  scales.resize(channels);
  for (std::size_t c = 0; c < channels; ++c) {
    const float* from = weight.data.data() + c * per_channel;
    std::int8_t* to = quantized.data.data() + c * per_channel;
    float largest = 0;
    for (std::size_t i = 0; i < per_channel; ++i) largest = std::max(largest, std::fabs(from[i]));
    const float scale = largest / 127.f;
    scales[c] = scale > 0 ? scale : 1.f;
    for (std::size_t i = 0; i < per_channel; ++i)
      to[i] = static_cast<std::int8_t>(std::clamp(std::nearbyint(from[i] / scales[c]), -127.f, 127.f));
  }
}

std::vector<std::int8_t> device_weight(const Stage& stage, const Tensor<std::int8_t>& weight) {
  const std::int64_t inputs = stage.in.channels / stage.groups,
                     outputs = stage.gemm_out.channels / stage.groups;
  const std::int64_t window = stage.kernel * stage.kernel, K = inputs * window;
  if (static_cast<std::int64_t>(weight.data.size()) != K * outputs * stage.groups)
    throw std::invalid_argument("device_weight: the tensor is not this stage's");
  std::vector<std::int8_t> device(weight.data.size());
  for (std::int64_t g = 0; g < stage.groups; ++g)
    for (std::int64_t n = 0; n < outputs; ++n)
      for (std::int64_t i = 0; i < inputs; ++i)
        for (std::int64_t p = 0; p < window; ++p)
          device[(g * K + p * inputs + i) * outputs + n] =
              weight.data[((g * outputs + n) * inputs + i) * window + p];
  return device;
}

DeployedNetwork deploy(const Network& network, const Parameters& parameters, const ActivationScales& scales,
                       const Masks& masks) {
  check_parameters(network, parameters, "the parameters to deploy");
  if (scales.input.size() != network.stages.size() || scales.before_average.size() != network.stages.size())
    throw std::invalid_argument("deploy: activation scales of another network");
  Parameters masked;
  for (const Stage& stage : network.stages)
    masked[stage.name + ".weight"] = parameters.at(stage.name + ".weight");
  Masks used;
  for (const auto& [name, mask] : masks)
    if (masked.count(name) != 0) used[name] = mask;
  apply_masks(masked, used);

  DeployedNetwork deployed;
  for (std::size_t s = 0; s < network.stages.size(); ++s) {
    const Stage& stage = network.stages[s];
    const bool last = s + 1 == network.stages.size();
    DeployedStage out;
    std::vector<float> weight_scales;
    quantize_weight(masked.at(stage.name + ".weight"), weight_scales, out.weight);
    out.input_scale = scales.input[s];
    const std::vector<Affine> affine = fold(stage, parameters);
    const auto real_factor = [&](std::size_t c) {
      return double{scales.input[s]} * weight_scales[c] * affine[c].factor;
    };
    if (last && !stage.global_avg_pool) {
      for (std::size_t c = 0; c < affine.size(); ++c) {
        out.output_scale.push_back(static_cast<float>(real_factor(c)));
        out.output_bias.push_back(static_cast<float>(affine[c].bias));
        if (!std::isfinite(out.output_scale.back()) || !std::isfinite(out.output_bias.back()))
          throw common::InputError(
              fmt::format("{}, channel {}: the weights are not finite numbers; such a "
                          "network cannot be deployed",
                          stage.name, c));
      }
    } else {
      const double result_scale = stage.global_avg_pool ? scales.before_average[s] : scales.input[s + 1];
      for (std::size_t c = 0; c < affine.size(); ++c)
        out.requantization.push_back(choose_requantization(real_factor(c) / result_scale,
                                                           affine[c].bias / result_scale,
                                                           fmt::format("{}, channel {}", stage.name, c)));
      if (stage.global_avg_pool) {
        const double mean = result_scale / static_cast<double>(stage.gemm_out.height * stage.gemm_out.width);
        if (last)
          out.output_scale.push_back(static_cast<float>(mean));
        else
          out.average = choose_requantization(mean / scales.input[s + 1], 0,
                                              fmt::format("{}, global average", stage.name));
      }
    }
    deployed.stages.push_back(std::move(out));
  }
  return deployed;
}

}  // namespace kintsugi::workloads

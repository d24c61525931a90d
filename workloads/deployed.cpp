#include "workloads/deployed.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <functional>
#include <stdexcept>

#include "common/diagnostics.h"
#include "common/thread_pool.h"
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

void deploy_average(const Network& network, const ActivationScales& scales, std::size_t s,
                    DeployedStage& out) {
  const Stage& stage = network.stages[s];
  const double mean =
      double{scales.before_average[s]} / static_cast<double>(stage.gemm_out.height * stage.gemm_out.width);
  if (s + 1 == network.stages.size())
    out.output_scale.push_back(static_cast<float>(mean));
  else
    out.average = choose_requantization(mean / scale_of_result(network, scales, s), 0,
                                        fmt::format("{}, global average", stage.name));
}

void quantize_masked(const Parameters& parameters, const Masks& masks, const std::string& name,
                     std::vector<float>& scales, Tensor<std::int8_t>& quantized) {
  const auto mask = masks.find(name);
  if (mask == masks.end()) return quantize_weight(parameters.at(name), scales, quantized);
  Parameters masked{{name, parameters.at(name)}};
  apply_masks(masked, {*mask});
  quantize_weight(masked.at(name), scales, quantized);
}

}  // namespace

double scale_of_result(const Network& network, const ActivationScales& scales, std::size_t s) {
  for (std::size_t r = s + 1; r < network.stages.size(); ++r) {
    const std::vector<int>& inputs = network.stages[r].inputs;
    if (inputs.front() == static_cast<int>(s)) return scales.input[r];
    if (inputs.back() == static_cast<int>(s)) return scales.second_input.at(r);
  }
  throw std::invalid_argument("scale_of_result: a result that nobody reads");
}

double scale_of_outputs(const Network& network, const ActivationScales& scales, std::size_t s) {
  return network.stages[s].global_avg_pool ? scales.before_average[s] : scale_of_result(network, scales, s);
}

namespace {

void for_each(std::int64_t count, common::ThreadPool* pool, const std::function<void(std::int64_t)>& body) {
  if (pool != nullptr) {
    pool->parallel_for(count, body);
  } else {
    for (std::int64_t i = 0; i < count; ++i) body(i);
  }
}

// max |values|, NaN left out. Magnitudes are ordered as their bits are, and integers need no order of
// evaluation.
float largest_magnitude(const float* values, std::size_t count) {
  constexpr std::int32_t kInfinity = 0x7f800000;
  std::int32_t largest = 0;
  for (std::size_t i = 0; i < count; ++i) {
    const std::int32_t bits = std::bit_cast<std::int32_t>(values[i]) & 0x7fffffff;
    const std::int32_t counted = bits > kInfinity ? 0 : bits;
    largest = counted > largest ? counted : largest;
  }
  return std::bit_cast<float>(largest);
}

}  // namespace

void quantize_weight(const Tensor<float>& weight, std::vector<float>& scales, Tensor<std::int8_t>& quantized,
                     common::ThreadPool* pool) {
  const std::int64_t channels = weight.shape.at(0);
  const std::size_t per_channel = weight.data.size() / static_cast<std::size_t>(channels);
  quantized.shape = weight.shape;
  quantized.data.resize(weight.data.size());
  scales.resize(static_cast<std::size_t>(channels));
  for_each(channels, pool, [&](std::int64_t c) {
    const float* from = weight.data.data() + c * per_channel;
    std::int8_t* to = quantized.data.data() + c * per_channel;
    const float scale = largest_magnitude(from, per_channel) / 127.f;
    const float used = scales[c] = scale > 0 ? scale : 1.f;
    for (std::size_t i = 0; i < per_channel; ++i) {
      const float q = std::nearbyint(from[i] / used);
      to[i] = static_cast<std::int8_t>(static_cast<std::int32_t>(q >= 127.f    ? 127.f
                                                                 : q >= -127.f ? q
                                                                               : -127.f));
    }
  });
}

void device_weight(const Stage& stage, const Tensor<std::int8_t>& weight, std::vector<std::int8_t>& device,
                   common::ThreadPool* pool) {
  const std::int64_t inputs = stage.in.channels / stage.groups,
                     outputs = stage.gemm_out.channels / stage.groups;
  const std::int64_t window = stage.kernel * stage.kernel, K = inputs * window;
  if (static_cast<std::int64_t>(weight.data.size()) != K * outputs * stage.groups)
    throw std::invalid_argument("device_weight: the tensor is not this stage's");
  device.resize(weight.data.size());
  // A transposition in blocks, so that neither side leaves the cache between two uses of a line.
  constexpr std::int64_t kBlock = 64;
  const std::int64_t blocks = (outputs + kBlock - 1) / kBlock;
  for_each(stage.groups * blocks, pool, [&](std::int64_t index) {
    const std::int64_t g = index / blocks, n0 = index % blocks * kBlock, n1 = std::min(n0 + kBlock, outputs);
    for (std::int64_t i = 0; i < inputs; ++i)
      for (std::int64_t p = 0; p < window; ++p) {
        const std::int8_t* const from = weight.data.data() + g * outputs * K + i * window + p;
        std::int8_t* const to = device.data() + (g * K + p * inputs + i) * outputs;
        for (std::int64_t n = n0; n < n1; ++n) to[n] = from[n * K];
      }
  });
}

std::vector<std::int8_t> device_weight(const Stage& stage, const Tensor<std::int8_t>& weight) {
  std::vector<std::int8_t> device;
  device_weight(stage, weight, device);
  return device;
}

DeployedStage deploy_stage(const Network& network, const Parameters& parameters,
                           const ActivationScales& scales, const Masks& masks, std::size_t s) {
  const Stage& stage = network.stages[s];
  const bool last = s + 1 == network.stages.size();
  DeployedStage out;
  out.input_scale = scales.input[s];
  if (!stage.on_chip()) {
    const double result_scale = scale_of_outputs(network, scales, s);
    if (stage.kind == StageKind::add)
      out.add = choose_residual_add(scales.input[s], scales.second_input.at(s), result_scale, stage.name);
    else
      out.result_scale = static_cast<float>(result_scale);
    if (stage.global_avg_pool) deploy_average(network, scales, s, out);
    return out;
  }
  std::vector<float> weight_scales;
  quantize_masked(parameters, masks, stage.name + ".weight", weight_scales, out.weight);
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
    const double result_scale = scale_of_outputs(network, scales, s);
    for (std::size_t c = 0; c < affine.size(); ++c)
      out.requantization.push_back(choose_requantization(real_factor(c) / result_scale,
                                                         affine[c].bias / result_scale,
                                                         fmt::format("{}, channel {}", stage.name, c)));
    if (stage.global_avg_pool) deploy_average(network, scales, s, out);
  }
  return out;
}

DeployedNetwork deploy(const Network& network, const Parameters& parameters, const ActivationScales& scales,
                       const Masks& masks) {
  check_parameters(network, parameters, "the parameters to deploy");
  if (scales.input.size() != network.stages.size() || scales.before_average.size() != network.stages.size())
    throw std::invalid_argument("deploy: activation scales of another network");
  DeployedNetwork deployed;
  for (std::size_t s = 0; s < network.stages.size(); ++s)
    deployed.stages.push_back(deploy_stage(network, parameters, scales, masks, s));
  return deployed;
}

}  // namespace kintsugi::workloads

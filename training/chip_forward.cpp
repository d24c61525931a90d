#include "training/chip_forward.h"

#include <fmt/format.h>

#include <algorithm>

#include "common/diagnostics.h"
#include "common/thread_pool.h"

namespace kintsugi::training {

using workloads::Stage;

ChipForward::ChipForward(const workloads::Network& network, std::int64_t batch, const ChipInTheLoop& chip,
                         common::ThreadPool& pool)
    : network_(&network), batch_(batch), pool_(&pool), chip_(chip) {
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
  check_devices(output_ + aligned(out * 4));
}

void ChipForward::check_devices(std::uint64_t needed_bytes) const {
  const auto check_memory = [&](const array::Accelerator& device) {
    if (needed_bytes <= device.memory_bytes()) return;
    throw common::InputError(
        fmt::format("a batch of {} images of network {} needs {} bytes of device memory, the chip has {}; "
                    "take a smaller batch",
                    batch_, network_->name, needed_bytes, device.memory_bytes()));
  };
  check_memory(*chip_.accelerator);
  if (chip_.on_host.empty()) return;
  if (chip_.on_host.size() != network_->stages.size()) {
    throw common::InputError(fmt::format("layers on the host are given for {} stages; network {} has {}",
                                         chip_.on_host.size(), network_->name, network_->stages.size()));
  }
  for (std::size_t s = 0; s < network_->stages.size(); ++s) {
    if (!on_host(s)) continue;
    if (!network_->stages[s].on_chip()) {
      throw common::InputError(
          fmt::format("layer {} is the host's or the activation unit's anyway; only convolutions and linear "
                      "layers can be taken off the array",
                      network_->stages[s].name));
    }
    if (!chip_.host) throw common::InputError("layers are to run on the host, but no host is given");
    check_memory(*chip_.host);
  }
}

void ChipForward::quantize(std::span<const float> values, float scale, std::span<std::int8_t> q) const {
  chip_.accelerator->float_to_int(values, scale, q);
}

void ChipForward::run(std::size_t stage_index, const workloads::Tensor<float>& weight,
                      std::span<const std::int8_t> x, float x_scale, std::span<float> z,
                      ColumnMoments* moments, SeenWeight& seen) {
  const Stage& stage = network_->stages[stage_index];
  array::Accelerator& device = on_host(stage_index) ? *chip_.host : *chip_.accelerator;
  workloads::quantize_weight(weight, seen.scales, seen.quantized, pool_);
  workloads::device_weight(stage, seen.quantized, matrix_, pool_);
  device.data_to_device(weights_, std::as_bytes(std::span(matrix_)));
  device.data_to_device(activations_, std::as_bytes(x));

  array::LayerLaunch launch;
  launch.shape = stage.layer_shape(batch_);
  launch.activations = activations_;
  launch.weights = weights_;
  launch.output = output_;
  device.launch(launch);

  const std::int64_t channels = stage.gemm_out.channels;
  output_scales_.resize(channels);
  for (std::int64_t c = 0; c < channels; ++c) output_scales_[c] = x_scale * seen.scales[c];

  // Results come in pieces that stay in the cache until they are numbers. Where they are cut is a constant of
  // the numbers, like the shards of training/shards.h: sums are taken over parts, in order.
  constexpr std::int64_t kValues = 1 << 20, kParts = 4;
  const std::int64_t rows = static_cast<std::int64_t>(z.size()) / channels;
  const std::int64_t part_rows = std::max<std::int64_t>(1, kValues / kParts / channels);
  if (moments) moments->reset(channels);
  parts_.resize(kParts);
  for (std::int64_t begin = 0; begin < rows; begin += kParts * part_rows) {
    const std::int64_t piece_rows = std::min(rows - begin, kParts * part_rows);
    accumulators_.resize(std::max<std::size_t>(accumulators_.size(), piece_rows * channels));
    const auto piece = std::span(accumulators_).first(piece_rows * channels);
    device.data_from_device(output_ + begin * channels * sizeof(std::int32_t), std::as_writable_bytes(piece));
    const std::int64_t parts = (piece_rows + part_rows - 1) / part_rows;
    pool_->parallel_for(parts, [&](std::int64_t i) {
      const std::int64_t first = i * part_rows, count = std::min(part_rows, piece_rows - first);
      const auto to = z.subspan((begin + first) * channels, count * channels);
      device.int_to_float(piece.subspan(first * channels, count * channels), output_scales_, to);
      if (!moments) return;
      parts_[i].reset(channels);
      parts_[i].add(to.data(), count);
    });
    for (std::int64_t i = 0; moments && i < parts; ++i) moments->join(parts_[i]);
  }
}

void ChipForward::dequantize(const SeenWeight& seen, std::span<float> weight) const {
  const auto channels = static_cast<std::int64_t>(seen.scales.size());
  const std::int64_t per_channel = seen.quantized.count() / channels;
  pool_->parallel_for(channels, [&](std::int64_t c) {
    const float scale = seen.scales[c];
    const std::int8_t* const q = seen.quantized.data.data() + c * per_channel;
    float* const w = weight.data() + c * per_channel;
    for (std::int64_t i = 0; i < per_channel; ++i) w[i] = static_cast<float>(q[i]) * scale;
  });
}

}  // namespace kintsugi::training

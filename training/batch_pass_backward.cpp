// The way back of a mini-batch: from the loss's gradient by the logits to every parameter's.
#include <algorithm>

#include "training/batch_norm.h"
#include "training/batch_pass.h"
#include "training/result_order.h"

namespace kintsugi::training {

using workloads::Stage;

// The reverse of deliver, pooling and ReLU: one shard's dout to gradient_z_.
void BatchPass::collect(std::size_t s, const float* dout, std::size_t shard) {
  StageState& state = stages_[s];
  const Stage& stage = *state.stage;
  const std::int64_t results = stage.out.count();
  const std::int64_t begin = shards_[shard].begin * results;
  const std::int64_t count = shards_[shard].count * results;
  const float* dy = dout + begin;
  if (state.flatten || !state.gate.empty()) {
    const float enlarge = stage.dropout > 0 ? 1.0F / (1.0F - static_cast<float>(stage.dropout)) : 1.0F;
    float* const target = gradient_y_.data() + begin;
    for_each_result(stage, state.flatten, 0, count,
                    [&](std::int64_t j, std::int64_t from) { target[j] = dy[from] * enlarge; });
    if (!state.gate.empty()) {
      const std::uint8_t* const gate = state.gate.data() + begin;
      for (std::int64_t j = 0; j < count; ++j) target[j] = gate[j] ? target[j] : 0.0F;
    }
    dy = target;
  }
  float* const dz = z_at(gradient_z_, state, shard);
  const std::int64_t images = shards_[shard].count;
  if (stage.global_avg_pool) {
    average_backward(images, stage.gemm_out.height * stage.gemm_out.width, state.window.channels, dy, dz);
    dy = dz;
  }
  const std::int64_t routes = static_cast<std::int64_t>(state.route.size()) / batch_;
  route_gradient(state.window, images, dy, state.route.data() + shards_[shard].begin * routes, dz);
}

void BatchPass::backward(std::size_t s, const std::vector<float>& dout, std::vector<float>& din) {
  StageState& state = stages_[s];
  const Stage& stage = *state.stage;
  const std::int64_t channels = state.window.channels;
  const auto shards = static_cast<std::int64_t>(shards_.size());
  const auto gemm_gradients = [&](std::int64_t i) {
    const float* const dz = z_at(gradient_z_, state, i);
    const std::int64_t at = shards_[i].begin * stage.in.count();
    gemms_[s].backward_weight(i, x_[s].data() + at, dz, state.shard_gradients[i].data());
    if (s > 0) gemms_[s].backward_data(i, dz, din.data() + at);
  };
  const auto total = [&](const std::vector<double>& partial, std::int64_t c) {
    double sum = 0;
    for (std::int64_t i = 0; i < shards; ++i) sum += partial[i * channels + c];
    return sum;
  };

  pool_->parallel_for(shards, [&](std::int64_t i) {
    collect(s, dout.data(), i);
    const float* const dz = z_at(gradient_z_, state, i);
    const auto sums = std::span(state.sums).subspan(i * channels, channels);
    column_sums(dz, rows(state, i), channels, sums);
    if (stage.batch_norm) {
      weighted_deviations(dz, z_at(state.z, state, i), rows(state, i), channels, state.mean,
                          std::span(state.products).subspan(i * channels, channels));
    } else {
      gemm_gradients(i);
    }
  });
  if (!stage.batch_norm) {
    if (!stage.bias) return;
    auto& bias = gradients_.at(state.bias).data;
    for (std::int64_t c = 0; c < channels; ++c) bias[c] = static_cast<float>(total(state.sums, c));
    return;
  }

  const auto count = static_cast<double>(batch_ * stage.gemm_out.height * stage.gemm_out.width);
  auto& gamma = gradients_.at(state.norm_weight).data;
  auto& shift = gradients_.at(state.norm_bias).data;
  for (std::int64_t c = 0; c < channels; ++c) {
    const double sum = total(state.sums, c), product = total(state.products, c);
    const double inverse = state.inverse_deviation[c];
    gamma[c] = static_cast<float>(product * inverse);
    shift[c] = static_cast<float>(sum);
    state.gradient_mean[c] = static_cast<float>(sum / count);
    state.gradient_slope[c] = static_cast<float>(product / count * inverse * inverse);
  }
  // A bias before batch-norm is taken out again by the batch's mean.
  if (stage.bias) std::fill_n(gradients_.at(state.bias).data.begin(), channels, 0.0F);
  pool_->parallel_for(shards, [&](std::int64_t i) {
    batch_norm_backward(z_at(gradient_z_, state, i), z_at(state.z, state, i), rows(state, i), channels,
                        state.mean, state.alpha, state.gradient_mean, state.gradient_slope);
    gemm_gradients(i);
  });
}

void BatchPass::reduce_weight_gradients() {
  constexpr std::int64_t kChunk = 32768;
  struct Chunk {
    std::size_t stage;
    std::int64_t begin, end;
  };
  std::vector<Chunk> chunks;
  for (std::size_t s = 0; s < stages_.size(); ++s) {
    const std::int64_t count = stages_[s].stage->weight_count();
    for (std::int64_t b = 0; b < count; b += kChunk) chunks.push_back({s, b, std::min(count, b + kChunk)});
  }
  pool_->parallel_for(static_cast<std::int64_t>(chunks.size()), [&](std::int64_t i) {
    const Chunk& chunk = chunks[i];
    const StageState& state = stages_[chunk.stage];
    float* const out = gradients_.at(state.weight).data.data();
    const float* const first = state.shard_gradients.front().data();
    std::copy(first + chunk.begin, first + chunk.end, out + chunk.begin);
    for (std::size_t k = 1; k < shards_.size(); ++k) {
      const float* const part = state.shard_gradients[k].data();
      for (std::int64_t j = chunk.begin; j < chunk.end; ++j) out[j] += part[j];
    }
  });
}

}  // namespace kintsugi::training

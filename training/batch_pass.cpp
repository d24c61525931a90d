#include "training/batch_pass.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "common/diagnostics.h"
#include "common/random.h"
#include "training/batch_norm.h"
#include "training/loss.h"
#include "training/result_order.h"

namespace kintsugi::training {

using workloads::Parameters;
using workloads::Stage;
using workloads::Tensor;

BatchPass::BatchPass(const workloads::Network& network, std::int64_t batch, common::ThreadPool& pool,
                     const std::optional<ChipInTheLoop>& chip, configs::Backward backward)
    : network_(&network), batch_(batch), backward_(backward), pool_(&pool), shards_(make_shards(batch)) {
  if (chip) chip_.emplace(network, batch, *chip);
  const auto add_value = [&](std::int64_t count, bool read_by_chip) {
    x_.emplace_back(count);
    q_.emplace_back(read_by_chip ? count : 0);
  };
  add_value(batch * network.input_shape().count(), chip_.has_value());
  for (std::size_t s = 0; s < network.stages.size(); ++s) {
    const bool last = s + 1 == network.stages.size();
    add_value(batch * network.stages[s].out.count(), chip_ && !last);
    add_stage(network.stages[s], last);
  }
  q_scale_.assign(x_.size(), 1.0F);
  plan_gradients();
}

void BatchPass::add_stage(const Stage& stage, bool last) {
  StageState state;
  state.stage = &stage;
  state.last = last;
  for (const int source : stage.inputs)
    state.operands.push_back({static_cast<std::size_t>(source + 1), false});
  state.weight = stage.name + ".weight";
  state.bias = stage.name + ".bias";
  const auto& g = stage.gemm_out;
  const std::int64_t channels = g.channels;
  if (stage.batch_norm) {
    const std::string& name = stage.batch_norm->name;
    state.norm_weight = name + ".weight";
    state.norm_bias = name + ".bias";
    state.norm_mean = name + ".running_mean";
    state.norm_variance = name + ".running_var";
    if (batch_ * g.height * g.width < 2) {
      throw common::InputError(fmt::format(
          "layer {}: batch-norm needs more than one value per channel to train; take a larger batch", name));
    }
  }
  if (stage.max_pool && stage.max_pool->kernel > 255) {
    throw common::InputError(fmt::format("layer {}: a max_pool of kernel {} cannot be trained; at most 255",
                                         stage.name, stage.max_pool->kernel));
  }
  state.window = {channels, g.height, g.width, 1, 1, g.height, g.width};
  if (stage.max_pool) {
    state.window = {channels,
                    g.height,
                    g.width,
                    stage.max_pool->kernel,
                    stage.max_pool->stride,
                    stage.out.height,
                    stage.out.width,
                    stage.max_pool->padding};
  }
  state.flatten = stage.flatten && stage.out.height * stage.out.width > 1;
  const std::int64_t results = batch_ * stage.out.count();
  state.z.resize(batch_ * g.count());
  state.route.resize(batch_ * channels * state.window.out_h * state.window.out_w);
  if (stage.global_avg_pool) state.activated.resize(batch_ * g.count());
  if (state.flatten) state.y.resize(results);
  if (stage.dropout > 0 || (chip_ && !last)) state.gate.resize(results);
  if (chip_) {
    state.seen_weight.resize(stage.weight_count());
    rounded_.resize(std::max({rounded_.size(), state.activated.size(), static_cast<std::size_t>(results)}));
    if (!stage.on_chip() && stage.max_pool) computed_.resize(std::max(computed_.size(), state.z.size()));
  }
  for (auto* per_channel : {&state.alpha, &state.beta, &state.mean, &state.inverse_deviation,
                            &state.gradient_mean, &state.gradient_slope}) {
    per_channel->resize(channels);
  }
  gradient_y_.resize(std::max(gradient_y_.size(), static_cast<std::size_t>(results)));
  gradient_z_.resize(std::max(gradient_z_.size(), state.z.size()));
  if (stage.on_chip()) {
    state.gemm = make_stage_gemm(stage, batch_, *pool_, *workspace_, backward_);
    state.sums.resize(shards_.size() * channels);
    state.products.resize(shards_.size() * channels);
    std::vector<std::int64_t> shape{channels, stage.in.channels};
    if (stage.convolution) shape = {channels, stage.in.channels / stage.groups, stage.kernel, stage.kernel};
    gradients_[state.weight] = Tensor<float>(shape);
    if (stage.bias) gradients_[state.bias] = Tensor<float>({channels});
    if (stage.batch_norm) {
      gradients_[state.norm_weight] = Tensor<float>({channels});
      gradients_[state.norm_bias] = Tensor<float>({channels});
    }
  }
  stages_.push_back(std::move(state));
}

std::int64_t BatchPass::rows(const StageState& state, std::size_t shard) const {
  return shards_[shard].count * state.stage->gemm_out.height * state.stage->gemm_out.width;
}

float* BatchPass::z_at(std::vector<float>& buffer, const StageState& state, std::size_t shard) const {
  return buffer.data() + shards_[shard].begin * state.stage->gemm_out.count();
}

double BatchPass::run(Parameters& parameters, std::span<const std::int32_t> labels,
                      const DropoutSource& dropout) {
  if (chip_) {
    q_scale_.front() = chip_->input_scale(0);
    chip_->quantize(x_.front(), q_scale_.front(), q_.front());
    for (std::size_t i = 0; i < x_.front().size(); ++i) {
      x_.front()[i] = static_cast<float>(q_.front()[i]) * q_scale_.front();
    }
  }
  for (std::size_t s = 0; s < stages_.size(); ++s) {
    if (stages_[s].stage->on_chip()) {
      forward_gemm(s, parameters);
    } else {
      forward_host(s);
    }
    prepare_affine(s, parameters);
    finish_stage(s, dropout);
  }

  double loss = 0;
  const double weight = 1.0 / static_cast<double>(batch_);
  for (const Shard& shard : shards_) {
    const std::int64_t at = shard.begin * network_->classes;
    loss += softmax_cross_entropy(x_.back().data() + at, labels.subspan(shard.begin, shard.count),
                                  network_->classes, weight, gradient_of(x_.size() - 1).data() + at);
  }

  for (std::size_t s = stages_.size(); s-- > 0;) {
    if (stages_[s].stage->on_chip()) {
      backward_gemm(s);
    } else {
      backward_host(s);
    }
  }
  return loss * weight;
}

void BatchPass::forward_gemm(std::size_t s, const Parameters& parameters) {
  StageState& state = stages_[s];
  const std::size_t input = state.operands.front().value;
  const Tensor<float>& weight = parameters.at(state.weight);
  if (chip_) {
    chip_->run(s, weight, q_[input], q_scale_[input], state.z, state.seen_weight);
    state.gemm->set_weight(state.seen_weight.data());
  } else {
    state.gemm->set_weight(weight.data.data());
  }
  const std::int64_t channels = state.window.channels;
  if (!chip_) state.gemm->forward(x_[input].data(), state.z.data());
  if (!state.stage->batch_norm) return;
  pool_->parallel_for(static_cast<std::int64_t>(shards_.size()), [&](std::int64_t i) {
    column_sums(z_at(state.z, state, i), rows(state, i), channels,
                std::span(state.sums).subspan(i * channels, channels));
  });
}

// What turns z into the values before ReLU, per channel: alpha·z + beta.
void BatchPass::prepare_affine(std::size_t s, Parameters& parameters) {
  StageState& state = stages_[s];
  const Stage& stage = *state.stage;
  const std::int64_t channels = state.window.channels;
  const std::vector<float>* bias = stage.bias ? &parameters.at(state.bias).data : nullptr;
  if (!stage.batch_norm) {
    std::fill(state.alpha.begin(), state.alpha.end(), 1.0F);
    for (std::int64_t c = 0; c < channels; ++c) state.beta[c] = bias ? (*bias)[c] : 0.0F;
    return;
  }
  const auto count = static_cast<double>(batch_ * stage.gemm_out.height * stage.gemm_out.width);
  for (std::int64_t c = 0; c < channels; ++c) {
    double sum = 0;
    for (std::size_t i = 0; i < shards_.size(); ++i) sum += state.sums[i * channels + c];
    state.mean[c] = static_cast<float>(sum / count);
  }
  pool_->parallel_for(static_cast<std::int64_t>(shards_.size()), [&](std::int64_t i) {
    squared_deviations(z_at(state.z, state, i), rows(state, i), channels, state.mean,
                       std::span(state.sums).subspan(i * channels, channels));
  });
  const auto& gamma = parameters.at(state.norm_weight).data;
  const auto& shift = parameters.at(state.norm_bias).data;
  auto& running_mean = parameters.at(state.norm_mean).data;
  auto& running_variance = parameters.at(state.norm_variance).data;
  const double momentum = stage.batch_norm->momentum;
  for (std::int64_t c = 0; c < channels; ++c) {
    double sum = 0;
    for (std::size_t i = 0; i < shards_.size(); ++i) sum += state.sums[i * channels + c];
    const double variance = sum / count;
    state.inverse_deviation[c] = static_cast<float>(1 / std::sqrt(variance + stage.batch_norm->eps));
    // A bias before batch-norm moves the mean and nothing else.
    state.alpha[c] = gamma[c] * state.inverse_deviation[c];
    state.beta[c] = shift[c] - state.alpha[c] * state.mean[c];
    const double mean = static_cast<double>(state.mean[c]) + (bias ? (*bias)[c] : 0.0F);
    running_mean[c] = static_cast<float>((1 - momentum) * running_mean[c] + momentum * mean);
    running_variance[c] =
        static_cast<float>((1 - momentum) * running_variance[c] + momentum * sum / (count - 1));
  }
}

void BatchPass::finish_stage(std::size_t s, const DropoutSource& dropout) {
  StageState& state = stages_[s];
  const Stage& stage = *state.stage;
  const std::int64_t results = stage.out.count();
  std::vector<float>& y = state.flatten ? state.y : x_[s + 1];
  const auto shards = static_cast<std::int64_t>(shards_.size());
  const auto average_shard = [&](std::int64_t i) {
    average(shards_[i].count, stage.gemm_out.height * stage.gemm_out.width, state.window.channels,
            z_at(state.activated, state, i), y.data() + shards_[i].begin * results);
  };

  pool_->parallel_for(shards, [&](std::int64_t i) {
    const std::int64_t at = shards_[i].begin * (static_cast<std::int64_t>(state.route.size()) / batch_);
    float* const out = stage.global_avg_pool ? state.activated.data() + at : y.data() + at;
    activate_and_pool(state.window, shards_[i].count, z_at(state.z, state, i), state.alpha.data(),
                      state.beta.data(), stage.relu, out, state.route.data() + at);
    if (chip_) return;
    if (stage.global_avg_pool) average_shard(i);
    deliver(s, i, y.data(), dropout);
  });
  if (!chip_) return;

  if (stage.global_avg_pool) {
    // The chip sums int8 results, so the average is taken of rounded values.
    const float scale = chip_->before_average_scale(s);
    round_results(s, state.activated, scale);
    pool_->parallel_for(shards, [&](std::int64_t i) {
      const std::int64_t begin = shards_[i].begin * stage.gemm_out.count();
      const std::int64_t end = begin + shards_[i].count * stage.gemm_out.count();
      for (std::int64_t j = begin; j < end; ++j) {
        if (std::abs(state.activated[j]) > 127.5F * scale) state.route[j] = kBlocked;
        state.activated[j] = static_cast<float>(rounded_[j]) * scale;
      }
      average_shard(i);
    });
  }
  if (!state.last) {
    const float scale = chip_->result_scale(s);
    if (stage.global_avg_pool) {
      chip_->quantize(y, scale, std::span(rounded_).first(y.size()));
    } else {
      round_results(s, y, scale);
    }
    // Dropout enlarges what is left by 1/(1−p); the scale carries that factor, so that nothing is clamped.
    q_scale_[s + 1] = stage.dropout > 0 ? scale / (1.0F - static_cast<float>(stage.dropout)) : scale;
  }
  pool_->parallel_for(shards, [&](std::int64_t i) { deliver(s, i, y.data(), dropout); });
}

// One shard's results on their way to their readers: clamped or not, dropped or not, reordered if flattened.
void BatchPass::deliver(std::size_t s, std::size_t shard, const float* y, const DropoutSource& dropout) {
  StageState& state = stages_[s];
  const Stage& stage = *state.stage;
  const std::int64_t results = stage.out.count();
  const std::int64_t begin = shards_[shard].begin * results;
  const std::int64_t end = begin + shards_[shard].count * results;
  const bool quantized = chip_ && !state.last;

  if (!state.gate.empty()) {
    if (quantized) {
      const float limit = 127.5F * chip_->result_scale(s);
      for (std::int64_t j = begin; j < end; ++j) state.gate[j] = std::abs(y[j]) <= limit ? 1 : 0;
    } else {
      std::fill(state.gate.begin() + begin, state.gate.begin() + end, std::uint8_t{1});
    }
  }
  // Two meanings of the gate differ for values: a dropped one is zero, a clamped one keeps its clamped value.
  const bool drops = stage.dropout > 0;
  std::optional<common::RandomStream> random;
  if (drops) {
    random.emplace(dropout.seed, dropout.stream + "/dropout/" + stage.name,
                   static_cast<std::uint64_t>(dropout.step * kShards) + shard);
  }
  const float enlarge = drops ? 1.0F / (1.0F - static_cast<float>(stage.dropout)) : 1.0F;
  std::vector<float>& next = x_[s + 1];
  if (!quantized && !drops && !state.flatten) return;  // y is what readers are given already

  if (quantized && !drops && !state.flatten) {
    std::copy(rounded_.begin() + begin, rounded_.begin() + end, q_[s + 1].begin() + begin);
    for (std::int64_t j = begin; j < end; ++j) next[j] = static_cast<float>(rounded_[j]) * q_scale_[s + 1];
    return;
  }
  for_each_result(stage, state.flatten, begin, end, [&](std::int64_t j, std::int64_t to) {
    const bool dropped = drops && random->uniform() < stage.dropout;
    if (dropped) state.gate[j] = 0;
    if (quantized) {
      const std::int8_t q = dropped ? std::int8_t{0} : rounded_[j];
      q_[s + 1][to] = q;
      next[to] = static_cast<float>(q) * q_scale_[s + 1];
    } else {
      next[to] = dropped ? 0.0F : y[j] * enlarge;
    }
  });
}

}  // namespace kintsugi::training

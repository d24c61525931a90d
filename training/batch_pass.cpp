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
                     const std::optional<ChipInTheLoop>& chip)
    : network_(&network), batch_(batch), pool_(&pool), shards_(make_shards(batch)) {
  if (chip) chip_.emplace(network, batch, *chip);
  std::int64_t largest_x = 0, largest_y = 0, largest_z = 0;
  for (std::size_t s = 0; s < network.stages.size(); ++s) {
    const Stage& stage = network.stages[s];
    StageState state;
    state.stage = &stage;
    state.last = s + 1 == network.stages.size();
    state.weight = stage.name + ".weight";
    state.bias = stage.name + ".bias";
    const std::int64_t channels = stage.gemm_out.channels;
    if (stage.batch_norm) {
      const std::string& name = stage.batch_norm->name;
      state.norm_weight = name + ".weight";
      state.norm_bias = name + ".bias";
      state.norm_mean = name + ".running_mean";
      state.norm_variance = name + ".running_var";
      if (batch * stage.gemm_out.height * stage.gemm_out.width < 2) {
        throw common::InputError(fmt::format(
            "layer {}: batch-norm needs more than one value per channel to train; take a larger batch",
            name));
      }
    }
    if (stage.max_pool && stage.max_pool->kernel > 255) {
      throw common::InputError(fmt::format("layer {}: a max_pool of kernel {} cannot be trained; at most 255",
                                           stage.name, stage.max_pool->kernel));
    }
    const auto& g = stage.gemm_out;
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
    state.flatten =
        !state.last && !network.stages[s + 1].convolution && stage.out.height * stage.out.width > 1;
    const std::int64_t results = batch * stage.out.count();
    state.z.resize(batch * g.count());
    state.route.resize(batch * channels * state.window.out_h * state.window.out_w);
    if (stage.global_avg_pool) state.activated.resize(batch * g.count());
    if (state.flatten) state.y.resize(results);
    if (stage.dropout > 0 || (chip_ && !state.last)) state.gate.resize(results);
    if (chip_) {
      state.q.resize(batch * stage.in.count());
      state.seen_weight.resize(stage.weight_count());
      rounded_.resize(std::max(rounded_.size(), state.activated.size()));
      rounded_.resize(std::max(rounded_.size(), static_cast<std::size_t>(results)));
    }
    for (auto* per_channel : {&state.alpha, &state.beta, &state.mean, &state.inverse_deviation,
                              &state.gradient_mean, &state.gradient_slope}) {
      per_channel->resize(channels);
    }
    state.sums.resize(shards_.size() * channels);
    state.products.resize(shards_.size() * channels);
    state.shard_gradients.assign(shards_.size(), std::vector<float>(stage.weight_count()));

    std::vector<std::int64_t> shape{channels, stage.in.channels};
    if (stage.convolution) shape = {channels, stage.in.channels / stage.groups, stage.kernel, stage.kernel};
    gradients_[state.weight] = Tensor<float>(shape);
    if (stage.bias) gradients_[state.bias] = Tensor<float>({channels});
    if (stage.batch_norm) {
      gradients_[state.norm_weight] = Tensor<float>({channels});
      gradients_[state.norm_bias] = Tensor<float>({channels});
    }
    x_.emplace_back(batch * stage.in.count());
    largest_x = std::max(largest_x, batch * stage.in.count());
    largest_y = std::max(largest_y, results);
    largest_z = std::max(largest_z, batch * g.count());
    gemms_.emplace_back(stage, shards_);
    stages_.push_back(std::move(state));
  }
  x_.emplace_back(batch * network.classes);
  gradient_a_.resize(std::max(largest_x, largest_y));
  gradient_b_.resize(std::max(largest_x, largest_y));
  gradient_y_.resize(largest_y);
  gradient_z_.resize(largest_z);
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
    stages_.front().q_scale = chip_->input_scale(0);
    chip_->quantize(x_.front(), stages_.front().q_scale, stages_.front().q);
    for (std::size_t i = 0; i < x_.front().size(); ++i) {
      x_.front()[i] = static_cast<float>(stages_.front().q[i]) * stages_.front().q_scale;
    }
  }
  for (std::size_t s = 0; s < stages_.size(); ++s) {
    forward_gemm(s, parameters);
    prepare_affine(s, parameters);
    finish_stage(s, dropout);
  }

  double loss = 0;
  const double weight = 1.0 / static_cast<double>(batch_);
  for (const Shard& shard : shards_) {
    const std::int64_t at = shard.begin * network_->classes;
    loss += softmax_cross_entropy(x_.back().data() + at, labels.subspan(shard.begin, shard.count),
                                  network_->classes, weight, gradient_a_.data() + at);
  }

  std::vector<float>* dout = &gradient_a_;
  std::vector<float>* din = &gradient_b_;
  for (std::size_t s = stages_.size(); s-- > 0;) {
    backward(s, *dout, *din);
    std::swap(dout, din);
  }
  reduce_weight_gradients();
  return loss * weight;
}

void BatchPass::forward_gemm(std::size_t s, const Parameters& parameters) {
  StageState& state = stages_[s];
  const Tensor<float>& weight = parameters.at(state.weight);
  if (chip_) {
    chip_->run(s, weight, state.q, state.q_scale, state.z, state.seen_weight);
    gemms_[s].set_weight(state.seen_weight.data());
  } else {
    gemms_[s].set_weight(weight.data.data());
  }
  const std::int64_t channels = state.window.channels;
  if (chip_ && !state.stage->batch_norm) return;
  pool_->parallel_for(static_cast<std::int64_t>(shards_.size()), [&](std::int64_t i) {
    float* const z = z_at(state.z, state, i);
    if (!chip_) gemms_[s].forward(i, x_[s].data() + shards_[i].begin * state.stage->in.count(), z);
    if (state.stage->batch_norm) {
      column_sums(z, rows(state, i), channels, std::span(state.sums).subspan(i * channels, channels));
    }
  });
}

// What turns GEMM results into the values before ReLU, per channel: alpha·z + beta.
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
    chip_->quantize(state.activated, scale, std::span(rounded_).first(state.activated.size()));
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
    const float scale = chip_->input_scale(s + 1);
    chip_->quantize(y, scale, std::span(rounded_).first(y.size()));
    // Dropout enlarges what is left by 1/(1−p); the scale carries that factor, so that nothing is clamped.
    stages_[s + 1].q_scale = stage.dropout > 0 ? scale / (1.0F - static_cast<float>(stage.dropout)) : scale;
  }
  pool_->parallel_for(shards, [&](std::int64_t i) { deliver(s, i, y.data(), dropout); });
}

// One shard's results on their way to the next stage: clamped or not, dropped or not, reordered if flattened.
void BatchPass::deliver(std::size_t s, std::size_t shard, const float* y, const DropoutSource& dropout) {
  StageState& state = stages_[s];
  const Stage& stage = *state.stage;
  const std::int64_t results = stage.out.count();
  const std::int64_t begin = shards_[shard].begin * results;
  const std::int64_t end = begin + shards_[shard].count * results;
  const bool quantized = chip_ && !state.last;

  if (!state.gate.empty()) {
    if (quantized) {
      const float limit = 127.5F * chip_->input_scale(s + 1);
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
  if (!quantized && !drops && !state.flatten) return;  // y is the next stage's input already

  if (quantized && !drops && !state.flatten) {
    const float scale = stages_[s + 1].q_scale;
    std::copy(rounded_.begin() + begin, rounded_.begin() + end, stages_[s + 1].q.begin() + begin);
    for (std::int64_t j = begin; j < end; ++j) next[j] = static_cast<float>(rounded_[j]) * scale;
    return;
  }
  for_each_result(stage, state.flatten, begin, end, [&](std::int64_t j, std::int64_t to) {
    const bool dropped = drops && random->uniform() < stage.dropout;
    if (dropped) state.gate[j] = 0;
    if (quantized) {
      const std::int8_t q = dropped ? std::int8_t{0} : rounded_[j];
      stages_[s + 1].q[to] = q;
      next[to] = static_cast<float>(q) * stages_[s + 1].q_scale;
    } else {
      next[to] = dropped ? 0.0F : y[j] * enlarge;
    }
  });
}

}  // namespace kintsugi::training

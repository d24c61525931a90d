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
                     const std::optional<ChipInTheLoop>& chip, configs::Backward backward,
                     bool freeze_batch_norm)
    : network_(&network),
      batch_(batch),
      backward_(backward),
      freeze_batch_norm_(freeze_batch_norm),
      pool_(&pool),
      shards_(make_shards(batch)) {
  if (chip) chip_.emplace(network, batch, *chip, pool);
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
    if (batch_ * g.height * g.width < 2 && !freeze_batch_norm_) {
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
    chip_weight_.resize(std::max(chip_weight_.size(), static_cast<std::size_t>(stage.weight_count())));
    rounded_.resize(std::max(rounded_.size(), static_cast<std::size_t>(results)));
    if (stage.global_avg_pool || (!stage.on_chip() && stage.max_pool))
      computed_.resize(std::max(computed_.size(), state.z.size()));
  }
  for (auto* per_channel : {&state.alpha, &state.beta, &state.mean, &state.inverse_deviation,
                            &state.gradient_mean, &state.gradient_slope}) {
    per_channel->resize(channels);
  }
  gradient_y_.resize(std::max(gradient_y_.size(), static_cast<std::size_t>(results)));
  gradient_z_.resize(std::max(gradient_z_.size(), state.z.size()));
  if (stage.on_chip()) {
    state.gemm = make_stage_gemm(stage, batch_, *pool_, *workspace_, backward_, !chip_);
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

std::int64_t BatchPass::rows(const StageState& state, const Shard& images) const {
  return images.count * state.stage->gemm_out.height * state.stage->gemm_out.width;
}

float* BatchPass::z_at(std::vector<float>& buffer, const StageState& state, const Shard& images) const {
  return buffer.data() + images.begin * state.stage->gemm_out.count();
}

void BatchPass::forward(Parameters& parameters, const StepRandom& step_random) {
  if (chip_) {
    q_scale_.front() = chip_->input_scale(0);
    chip_->quantize(x_.front(), q_scale_.front(), q_.front());
    for (std::size_t i = 0; i < x_.front().size(); ++i) {
      x_.front()[i] = static_cast<float>(q_.front()[i]) * q_scale_.front();
    }
  }
  for (std::size_t s = 0; s < stages_.size(); ++s) {
    if (stages_[s].stage->on_chip()) {
      forward_gemm(s, parameters, step_random);
    } else {
      forward_host(s);
    }
    prepare_affine(s, parameters);
    finish_stage(s, step_random);
  }
}

double BatchPass::run(Parameters& parameters, std::span<const std::int32_t> labels,
                      const StepRandom& step_random) {
  forward(parameters, step_random);
  double loss = 0;
  const double weight = 1.0 / static_cast<double>(batch_);
  for (const Shard& shard : shards_) {
    const std::int64_t outputs = network_->outputs(), at = shard.begin * outputs;
    const auto of_shard = labels.subspan(shard.begin, shard.count);
    float* gradient = gradient_of(x_.size() - 1).data() + at;
    loss += network_->class_slots.empty()
                ? softmax_cross_entropy(x_.back().data() + at, of_shard, outputs, weight, gradient)
                : softmax_cross_entropy(x_.back().data() + at, of_shard, outputs, network_->class_slots,
                                        weight, gradient);
  }

  for (std::size_t s = stages_.size(); s-- > 0;) {
    if (stages_[s].stage->on_chip()) {
      backward_gemm(s, parameters);
    } else {
      backward_host(s);
    }
  }
  return loss * weight;
}

void BatchPass::forward_gemm(std::size_t s, const Parameters& parameters, const StepRandom& step_random) {
  StageState& state = stages_[s];
  const std::size_t input = state.operands.front().value;
  const Tensor<float>& weight = parameters.at(state.weight);
  const bool normalises = state.stage->batch_norm.has_value() && !freeze_batch_norm_;
  if (chip_) {
    chip_->run(s, weight, q_[input], q_scale_[input], state.z, normalises ? &state.moments : nullptr,
               state.seen_weight);
    return;
  }
  state.gemm->forward(weight.data.data(), x_[input].data(), state.z.data());
  if (step_random.output_noise > 0) add_noise(s, step_random);
  if (!normalises) return;
  moments_.resize(shards_.size());
  pool_->parallel_for(static_cast<std::int64_t>(shards_.size()), [&](std::int64_t i) {
    moments_[i].reset(state.window.channels);
    moments_[i].add(z_at(state.z, state, shards_[i]), rows(state, shards_[i]));
  });
  state.moments.reset(state.window.channels);
  for (const ColumnMoments& part : moments_) state.moments.join(part);
}

// Before anything else looks at the results, as an erring accelerator would leave them.
void BatchPass::add_noise(std::size_t s, const StepRandom& step_random) {
  StageState& state = stages_[s];
  const auto shards = static_cast<std::int64_t>(shards_.size());
  const auto part = [&](std::int64_t i) {
    return std::span(state.z).subspan(shards_[i].begin * state.stage->gemm_out.count(),
                                      shards_[i].count * state.stage->gemm_out.count());
  };
  std::vector<double> squares(shards_.size());
  pool_->parallel_for(shards, [&](std::int64_t i) {
    for (const float z : part(i)) squares[i] += static_cast<double>(z) * z;
  });
  double sum = 0;
  for (const double square : squares) sum += square;
  const double sigma = step_random.output_noise * std::sqrt(sum / static_cast<double>(state.z.size()));
  pool_->parallel_for(shards, [&](std::int64_t i) {
    common::RandomStream random = step_random.of("noise", state.stage->name, i);
    for (float& z : part(i)) z += static_cast<float>(sigma * random.normal());
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
  const auto& gamma = parameters.at(state.norm_weight).data;
  const auto& shift = parameters.at(state.norm_bias).data;
  auto& running_mean = parameters.at(state.norm_mean).data;
  auto& running_variance = parameters.at(state.norm_variance).data;
  if (freeze_batch_norm_) {
    for (std::int64_t c = 0; c < channels; ++c) {
      state.mean[c] = running_mean[c] - (bias ? (*bias)[c] : 0.0F);
      state.inverse_deviation[c] =
          static_cast<float>(1 / std::sqrt(double{running_variance[c]} + stage.batch_norm->eps));
      state.alpha[c] = gamma[c] * state.inverse_deviation[c];
      state.beta[c] = shift[c] - state.alpha[c] * state.mean[c];
    }
    return;
  }
  const double momentum = stage.batch_norm->momentum;
  const auto count = static_cast<double>(state.moments.count());
  for (std::int64_t c = 0; c < channels; ++c) {
    state.mean[c] = static_cast<float>(state.moments.mean()[c]);
    const double sum = state.moments.squares()[c];
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

void BatchPass::finish_stage(std::size_t s, const StepRandom& step_random) {
  const StageState& state = stages_[s];
  const Stage& stage = *state.stage;
  if (chip_ && !state.last) {
    const float scale = chip_->result_scale(s);
    // Dropout enlarges what is left by 1/(1−p); the scale carries that factor, so that nothing is clamped.
    q_scale_[s + 1] = stage.dropout > 0 ? scale / (1.0F - static_cast<float>(stage.dropout)) : scale;
  }
  std::vector<std::optional<common::RandomStream>> random(shards_.size());
  for (std::size_t i = 0; stage.dropout > 0 && i < shards_.size(); ++i) {
    random[i] = step_random.of("dropout", stage.name, static_cast<std::int64_t>(i));
  }
  for_each_block(s, [&](std::int64_t shard, const Shard& images) {
    finish_images(s, images, random[shard] ? &*random[shard] : nullptr);
  });
}

void BatchPass::finish_images(std::size_t s, const Shard& images, common::RandomStream* random) {
  StageState& state = stages_[s];
  const Stage& stage = *state.stage;
  float* const y = (state.flatten ? state.y : x_[s + 1]).data() + images.begin * stage.out.count();
  const std::int64_t at = images.begin * (static_cast<std::int64_t>(state.route.size()) / batch_);
  float* const out = stage.global_avg_pool ? state.activated.data() + at : y;
  activate_and_pool(state.window, images.count, z_at(state.z, state, images), state.alpha.data(),
                    state.beta.data(), stage.relu, out, state.route.data() + at);
  if (stage.global_avg_pool) {
    if (chip_) round_before_average(s, images);
    average(images.count, stage.gemm_out.height * stage.gemm_out.width, state.window.channels, out, y);
  }
  if (chip_ && !state.last) round_results(s, images, y);
  deliver(s, images, y, random);
}

// The chip sums int8 results, so the average is taken of rounded values.
void BatchPass::round_before_average(std::size_t s, const Shard& images) {
  StageState& state = stages_[s];
  const float scale = chip_->before_average_scale(s);
  const std::int64_t begin = images.begin * state.stage->gemm_out.count();
  const std::int64_t count = images.count * state.stage->gemm_out.count();
  const auto values = std::span(state.activated).subspan(begin, count);
  const auto q = std::span(computed_).subspan(begin, count);
  // A stage on the host has left its int8 results there.
  if (state.stage->on_chip()) chip_->quantize(values, scale, q);
  for (std::int64_t j = 0; j < count; ++j) {
    if (std::abs(values[j]) > 127.5F * scale) state.route[begin + j] = kBlocked;
    values[j] = static_cast<float>(q[j]) * scale;
  }
}

// Results on their way to their readers: clamped or not, dropped or not, reordered if flattened.
void BatchPass::deliver(std::size_t s, const Shard& images, const float* y, common::RandomStream* random) {
  StageState& state = stages_[s];
  const Stage& stage = *state.stage;
  const std::int64_t begin = images.begin * stage.out.count();
  const std::int64_t count = images.count * stage.out.count();
  const bool quantized = chip_ && !state.last;
  const std::int8_t* const rounded = rounded_.data() + (quantized ? begin : 0);

  if (!state.gate.empty()) {
    std::uint8_t* const gate = state.gate.data() + begin;
    if (quantized) {
      const float limit = 127.5F * chip_->result_scale(s);
      for (std::int64_t j = 0; j < count; ++j) gate[j] = std::abs(y[j]) <= limit ? 1 : 0;
    } else {
      std::fill(gate, gate + count, std::uint8_t{1});
    }
  }
  // Two meanings of the gate differ for values: a dropped one is zero, a clamped one keeps its clamped value.
  const float enlarge = random ? 1.0F / (1.0F - static_cast<float>(stage.dropout)) : 1.0F;
  if (!quantized && !random && !state.flatten) return;  // y is what readers are given already

  float* const next = x_[s + 1].data() + begin;
  std::int8_t* const next_q = q_[s + 1].data() + (quantized ? begin : 0);
  if (quantized && !random && !state.flatten) {
    std::copy(rounded, rounded + count, next_q);
    const float scale = q_scale_[s + 1];
    for (std::int64_t j = 0; j < count; ++j) next[j] = static_cast<float>(rounded[j]) * scale;
    return;
  }
  for_each_result(stage, state.flatten, 0, count, [&](std::int64_t j, std::int64_t to) {
    const bool dropped = random && random->uniform() < stage.dropout;
    if (dropped) state.gate[begin + j] = 0;
    if (quantized) {
      const std::int8_t q = dropped ? std::int8_t{0} : rounded[j];
      next_q[to] = q;
      next[to] = static_cast<float>(q) * q_scale_[s + 1];
    } else {
      next[to] = dropped ? 0.0F : y[j] * enlarge;
    }
  });
}

}  // namespace kintsugi::training

// The way back of a mini-batch: from the loss's gradient by the logits to every parameter's.
#include <algorithm>
#include <stdexcept>

#include "training/batch_norm.h"
#include "training/batch_pass.h"
#include "training/response_norm.h"
#include "training/result_order.h"

namespace kintsugi::training {

using workloads::Stage;

// Which buffer holds which gradient. A chain needs two; a result with a reader far behind keeps its own
// longer.
void BatchPass::plan_gradients() {
  constexpr std::size_t kNone = static_cast<std::size_t>(-1);
  slot_of_.assign(x_.size(), kNone);
  std::vector<std::size_t> free;
  std::size_t slots = 0, largest = 0, largest_added = 0;
  const auto take = [&] {
    if (free.empty()) return slots++;
    const std::size_t slot = free.back();
    free.pop_back();
    return slot;
  };
  slot_of_.back() = take();
  for (std::size_t s = stages_.size(); s-- > 0;) {
    largest = std::max(largest, x_[s + 1].size());
    for (Operand& operand : stages_[s].operands) {
      if (operand.value == 0) continue;
      operand.first = slot_of_[operand.value] == kNone;
      if (operand.first) {
        slot_of_[operand.value] = take();
      } else {
        largest_added = std::max(largest_added, x_[operand.value].size());
      }
    }
    free.push_back(slot_of_[s + 1]);
  }
  gradient_slots_.assign(slots, std::vector<float>(largest));
  gradient_x_.resize(largest_added);
}

// The reverse of deliver, pooling and ReLU: one shard's gradient by the stage's results to gradient_z_.
void BatchPass::collect(std::size_t s, std::size_t shard) {
  StageState& state = stages_[s];
  const Stage& stage = *state.stage;
  const std::int64_t results = stage.out.count();
  const std::int64_t begin = shards_[shard].begin * results;
  const std::int64_t count = shards_[shard].count * results;
  const float* dy = gradient_of(s + 1).data() + begin;
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

// Of a stage on the host, from gradient_z_ to the gradients by what it read. One thread has the shard, and
// stages come one after the other, so that sums over readers have one order.
void BatchPass::hand_back(std::size_t s, std::size_t shard) {
  StageState& state = stages_[s];
  const Stage& stage = *state.stage;
  const float* const dz = z_at(gradient_z_, state, shard);
  const std::int64_t at = shards_[shard].begin * stage.in.count();
  const std::int64_t count = shards_[shard].count * stage.in.count();
  for (const Operand& operand : state.operands) {
    if (operand.value == 0) continue;  // nobody asks for the image's
    float* const total = gradient_of(operand.value).data() + at;
    float* const part = operand.first ? total : gradient_x_.data() + at;
    switch (stage.kind) {
      case workloads::StageKind::gemm:
        throw std::logic_error("hand_back: a stage on the chip");
      case workloads::StageKind::add:
        std::copy(dz, dz + count, part);
        break;
      case workloads::StageKind::local_response_norm:
        response_norm_backward(stage.lrn, count / stage.in.channels, stage.in.channels,
                               x_[operand.value].data() + at, dz, part);
        break;
    }
    if (operand.first) continue;
    for (std::int64_t j = 0; j < count; ++j) total[j] += part[j];
  }
}

void BatchPass::backward_host(std::size_t s) {
  pool_->parallel_for(static_cast<std::int64_t>(shards_.size()), [&](std::int64_t i) {
    collect(s, i);
    hand_back(s, i);
  });
}

void BatchPass::backward_gemm(std::size_t s) {
  StageState& state = stages_[s];
  const Stage& stage = *state.stage;
  const std::int64_t channels = state.window.channels;
  const auto shards = static_cast<std::int64_t>(shards_.size());
  const auto gemm_gradients = [&] {
    const Operand& operand = state.operands.front();
    float* const dw = gradients_.at(state.weight).data.data();
    const float* const x = x_[operand.value].data();
    if (operand.value == 0) {  // nobody asks for the image's
      state.gemm->backward(x, gradient_z_.data(), nullptr, dw);
      return;
    }
    float* const total = gradient_of(operand.value).data();
    float* const part = operand.first ? total : gradient_x_.data();
    state.gemm->backward(x, gradient_z_.data(), part, dw);
    if (operand.first) return;
    pool_->parallel_for(shards, [&](std::int64_t i) {
      const std::int64_t begin = shards_[i].begin * stage.in.count();
      const std::int64_t end = begin + shards_[i].count * stage.in.count();
      for (std::int64_t j = begin; j < end; ++j) total[j] += part[j];
    });
  };
  const auto total = [&](const std::vector<double>& partial, std::int64_t c) {
    double sum = 0;
    for (std::int64_t i = 0; i < shards; ++i) sum += partial[i * channels + c];
    return sum;
  };

  pool_->parallel_for(shards, [&](std::int64_t i) {
    collect(s, i);
    const float* const dz = z_at(gradient_z_, state, i);
    const auto sums = std::span(state.sums).subspan(i * channels, channels);
    column_sums(dz, rows(state, i), channels, sums);
    if (stage.batch_norm) {
      weighted_deviations(dz, z_at(state.z, state, i), rows(state, i), channels, state.mean,
                          std::span(state.products).subspan(i * channels, channels));
    }
  });
  if (!stage.batch_norm) {
    gemm_gradients();
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
  });
  gemm_gradients();
}

}  // namespace kintsugi::training

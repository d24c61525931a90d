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

// The reverse of deliver, pooling and ReLU: the gradient by the stage's results to gradient_z_.
void BatchPass::collect(std::size_t s, const Shard& images) {
  StageState& state = stages_[s];
  const Stage& stage = *state.stage;
  const std::int64_t results = stage.out.count();
  const std::int64_t begin = images.begin * results;
  const std::int64_t count = images.count * results;
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
  float* const dz = z_at(gradient_z_, state, images);
  if (stage.global_avg_pool) {
    average_backward(images.count, stage.gemm_out.height * stage.gemm_out.width, state.window.channels, dy,
                     dz);
    dy = dz;
  }
  const std::int64_t routes = static_cast<std::int64_t>(state.route.size()) / batch_;
  route_gradient(state.window, images.count, dy, state.route.data() + images.begin * routes, dz);
}

// Of a stage on the host, from gradient_z_ to the gradients by what it read. One thread has the shard, and
// stages come one after the other, so that sums over readers have one order.
void BatchPass::hand_back(std::size_t s, std::size_t shard) {
  StageState& state = stages_[s];
  const Stage& stage = *state.stage;
  const float* const dz = z_at(gradient_z_, state, shards_[shard]);
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
    collect(s, shards_[i]);
    hand_back(s, i);
  });
}

void BatchPass::backward_gemm(std::size_t s, const workloads::Parameters& parameters) {
  StageState& state = stages_[s];
  const Stage& stage = *state.stage;
  const std::int64_t channels = state.window.channels;
  const auto shards = static_cast<std::int64_t>(shards_.size());
  const bool normalises = stage.batch_norm.has_value();

  std::fill(state.sums.begin(), state.sums.end(), 0.0);
  std::fill(state.products.begin(), state.products.end(), 0.0);
  for_each_block(s, [&](std::int64_t shard, const Shard& images) {
    collect(s, images);
    if (!normalises && !stage.bias) return;
    const auto of_shard = [&](std::vector<double>& all) {
      return std::span(all).subspan(shard * channels, channels);
    };
    add_gradient_sums(z_at(gradient_z_, state, images), z_at(state.z, state, images), rows(state, images),
                      channels, state.mean, of_shard(state.sums),
                      normalises ? of_shard(state.products) : std::span<double>());
  });
  const auto total = [&](const std::vector<double>& partial, std::int64_t c) {
    double sum = 0;
    for (std::int64_t i = 0; i < shards; ++i) sum += partial[i * channels + c];
    return sum;
  };
  std::optional<BatchNormGradient> norm;
  if (normalises) {
    const auto count = static_cast<double>(batch_ * stage.gemm_out.height * stage.gemm_out.width);
    auto& gamma = gradients_.at(state.norm_weight).data;
    auto& shift = gradients_.at(state.norm_bias).data;
    for (std::int64_t c = 0; c < channels; ++c) {
      const double sum = total(state.sums, c), product = total(state.products, c);
      const double inverse = state.inverse_deviation[c];
      gamma[c] = static_cast<float>(product * inverse);
      shift[c] = static_cast<float>(sum);
      // Frozen statistics do not depend on z.
      state.gradient_mean[c] = freeze_batch_norm_ ? 0.0F : static_cast<float>(sum / count);
      state.gradient_slope[c] =
          freeze_batch_norm_ ? 0.0F : static_cast<float>(product / count * inverse * inverse);
      // A bias before batch-norm is taken out again by the batch's mean.
      if (stage.bias)
        gradients_.at(state.bias).data[c] =
            freeze_batch_norm_ ? static_cast<float>(sum * state.alpha[c]) : 0.0F;
    }
    norm =
        BatchNormGradient{state.z.data(), state.mean, state.alpha, state.gradient_mean, state.gradient_slope};
  } else if (stage.bias) {
    auto& bias = gradients_.at(state.bias).data;
    for (std::int64_t c = 0; c < channels; ++c) bias[c] = static_cast<float>(total(state.sums, c));
  }

  const Operand& operand = state.operands.front();
  const bool wanted = operand.value != 0;  // nobody asks for the image's
  float* const all = wanted ? gradient_of(operand.value).data() : nullptr;
  float* const part = !wanted || operand.first ? all : gradient_x_.data();
  const float* weight = parameters.at(state.weight).data.data();
  if (chip_) {
    chip_->dequantize(state.seen_weight, std::span(chip_weight_).first(stage.weight_count()));
    weight = chip_weight_.data();
  }
  state.gemm->backward(weight, x_[operand.value].data(), gradient_z_.data(), norm ? &*norm : nullptr, part,
                       gradients_.at(state.weight).data.data());
  if (part == all) return;
  pool_->parallel_for(shards, [&](std::int64_t i) {
    const std::int64_t begin = shards_[i].begin * stage.in.count();
    const std::int64_t end = begin + shards_[i].count * stage.in.count();
    for (std::int64_t j = begin; j < end; ++j) all[j] += part[j];
  });
}

}  // namespace kintsugi::training

// The host's own stages of a forward pass, residual add and local response normalisation, and their int8
// results with the chip in the loop.
#include <algorithm>
#include <optional>

#include "array/activation_unit.h"
#include "training/batch_pass.h"
#include "training/response_norm.h"
#include "workloads/residual_add.h"

namespace kintsugi::training {

using workloads::Stage;

// z in float, of which the backward pass takes its routes, and with the chip in the loop beside it the int8
// values that the deployed network computes from the same operands.
void BatchPass::forward_host(std::size_t s) {
  StageState& state = stages_[s];
  const Stage& stage = *state.stage;
  const bool adds = stage.kind == workloads::StageKind::add;
  const std::size_t first = state.operands.front().value, second = state.operands.back().value;
  std::optional<array::ResidualAdd> record;
  if (chip_ && adds) {
    record =
        workloads::choose_residual_add(q_scale_[first], q_scale_[second], chip_->output_scale(s), stage.name);
  }
  std::vector<std::int8_t>& outputs = stage.max_pool || stage.global_avg_pool ? computed_ : rounded_;
  pool_->parallel_for(static_cast<std::int64_t>(shards_.size()), [&](std::int64_t i) {
    const std::int64_t at = shards_[i].begin * stage.in.count();
    const std::int64_t count = shards_[i].count * stage.in.count();
    const float* const a = x_[first].data() + at;
    float* const z = state.z.data() + at;
    if (adds) {
      const float* const b = x_[second].data() + at;
      for (std::int64_t j = 0; j < count; ++j) z[j] = a[j] + b[j];
    } else {
      response_norm(stage.lrn, count / stage.in.channels, stage.in.channels, a, z);
    }
    if (!chip_) return;
    const auto part = [&](std::vector<std::int8_t>& values) { return std::span(values).subspan(at, count); };
    if (adds) {
      array::residual_add(part(q_[first]), part(q_[second]), *record, stage.relu, part(outputs));
    } else {
      array::local_response_norm(stage.lrn, stage.in.channels, q_scale_[first], chip_->output_scale(s),
                                 part(q_[first]), part(outputs));
    }
  });
}

// Into rounded_: y / scale rounded; of a stage on the host the int8 results that it left, pooled.
void BatchPass::round_results(std::size_t s, const Shard& images, const float* y) {
  const Stage& stage = *stages_[s].stage;
  const auto results = static_cast<std::size_t>(images.count * stage.out.count());
  const auto to = std::span(rounded_).subspan(images.begin * stage.out.count(), results);
  if (stage.on_chip() || stage.global_avg_pool) {
    chip_->quantize({y, results}, chip_->result_scale(s), to);
  } else if (stage.max_pool) {
    const auto [channels, height, width] = stage.gemm_out;
    array::max_pool(
        stage.pool_window(), images.count, height, width, channels,
        std::span(computed_).subspan(images.begin * stage.in.count(), images.count * stage.in.count()), to);
  }
  // Otherwise forward_host left them there.
}

}  // namespace kintsugi::training

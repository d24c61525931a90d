#include "workloads/network.h"

#include <algorithm>

namespace kintsugi::workloads {

array::LayerShape Stage::layer_shape(std::int64_t batch) const {
  array::LayerShape shape;
  shape.batch = batch;
  shape.in_h = in.height;
  shape.in_w = in.width;
  shape.in_c = in.channels;
  shape.kernel_h = shape.kernel_w = kernel;
  shape.stride = stride;
  shape.padding = padding;
  shape.groups = groups;
  shape.out_c = gemm_out.channels;
  return shape;
}

array::MaxPool Stage::pool_window() const {
  return {max_pool->kernel, max_pool->stride, max_pool->padding, out.height, out.width};
}

std::int64_t Stage::parameter_count() const {
  std::int64_t count = weight_count();
  if (bias) count += gemm_out.channels;
  if (batch_norm) count += 2 * gemm_out.channels;
  return count;
}

std::int64_t Network::parameter_count() const {
  std::int64_t count = 0;
  for (const Stage& stage : stages) count += stage.parameter_count();
  return count;
}

std::int64_t Network::neurons(std::size_t stage) const {
  const Stage& s = stages.at(stage);
  return (s.relu ? s.gemm_out.count() : 0) + (stage + 1 == stages.size() ? classes : 0);
}

bool Network::is_chain() const {
  for (std::size_t s = 0; s < stages.size(); ++s)
    if (!stages[s].on_chip() || stages[s].inputs != std::vector{static_cast<int>(s) - 1}) return false;
  return true;
}

void Network::pick_classes(std::span<const float> outputs, std::span<float> logits) const {
  if (class_slots.empty()) {
    if (outputs.data() != logits.data()) std::copy(outputs.begin(), outputs.end(), logits.begin());
    return;
  }
  const auto width = static_cast<std::size_t>(this->outputs());
  for (std::size_t row = 0; row * width < outputs.size(); ++row)
    for (std::size_t c = 0; c < class_slots.size(); ++c)
      logits[row * class_slots.size() + c] = outputs[row * width + class_slots[c]];
}

}  // namespace kintsugi::workloads

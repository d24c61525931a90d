#include "workloads/pruning_mask.h"

#include <fmt/format.h>

#include <stdexcept>

#include "array/layer_shape.h"

namespace kintsugi::workloads {

namespace {

std::vector<std::int64_t> weight_shape(const Stage& stage) {
  const std::int64_t inputs = stage.in.channels / stage.groups;
  if (!stage.convolution) return {stage.gemm_out.channels, inputs};
  return {stage.gemm_out.channels, inputs, stage.kernel, stage.kernel};
}

Tensor<std::uint8_t> stage_mask(const Stage& stage, const faults::ArrayFaults& faults,
                                const configs::ChipConfig& chip) {
  Tensor<std::uint8_t> mask(weight_shape(stage));
  mask.data.assign(mask.data.size(), 1);
  const array::LayerShape shape = stage.layer_shape(1);
  const array::Tiling tiling = array::make_tiling(shape, chip.array.rows, chip.array.cols, chip.convolution);
  const std::int64_t inputs = shape.in_c / shape.groups, window = shape.kernel_h * shape.kernel_w;
  for (const array::Range& k_tile : tiling.k_tiles)
    for (std::int64_t r = 0; r < k_tile.count; ++r) {
      const std::int64_t k = k_tile.begin + r, input = k % inputs, position = k / inputs;
      for (const array::Range& n_tile : tiling.n_tiles)
        for (std::int64_t c = 0; c < n_tile.count; ++c) {
          if (!faults.bypassed(static_cast<int>(r), static_cast<int>(c))) continue;
          for (std::int64_t g = 0; g < shape.groups; ++g) {
            const std::int64_t output = g * shape.n() + n_tile.begin + c;
            mask.data[(output * inputs + input) * window + position] = 0;
          }
        }
    }
  return mask;
}

}  // namespace

Masks pruning_masks(const Network& network, const faults::ArrayFaults& faults,
                    const configs::ChipConfig& chip) {
  Masks masks;
  for (const Stage& stage : network.stages) masks[stage.name + ".weight"] = stage_mask(stage, faults, chip);
  return masks;
}

double mapped_fault_rate(const Stage& stage, const faults::ArrayFaults& faults,
                         const configs::ChipConfig& chip) {
  const Tensor<std::uint8_t> mask = stage_mask(stage, faults, chip);
  std::int64_t pruned = 0;
  for (const std::uint8_t keep : mask.data) pruned += keep == 0;
  return static_cast<double>(pruned) / static_cast<double>(stage.weight_count());
}

void apply_masks(Parameters& parameters, const Masks& masks) {
  for (const auto& [name, mask] : masks) {
    const auto found = parameters.find(name);
    if (found == parameters.end() || found->second.data.size() != mask.data.size())
      throw std::invalid_argument(fmt::format("the mask of {} does not fit the parameters", name));
    for (std::size_t i = 0; i < mask.data.size(); ++i)
      // Not a product: −0.0 and NaN must become 0 too.
      if (mask.data[i] == 0) found->second.data[i] = 0;
  }
}

}  // namespace kintsugi::workloads

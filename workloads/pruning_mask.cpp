#include "workloads/pruning_mask.h"

#include <fmt/format.h>

#include <algorithm>
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
  std::vector<bool> row_used(static_cast<std::size_t>(faults.rows));
  for (int r = 0; r < faults.rows; ++r)
    for (int c = 0; c < faults.cols; ++c)
      if (faults.bypassed(r, c)) row_used[static_cast<std::size_t>(r)] = true;
  for (const array::Range& k_tile : tiling.k_tiles)
    for (std::int64_t r = 0; r < k_tile.count; ++r) {
      if (!row_used[static_cast<std::size_t>(r)]) continue;
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
  for (const Stage& stage : network.stages)
    if (stage.on_chip()) masks[stage.name + ".weight"] = stage_mask(stage, faults, chip);
  return masks;
}

LostChannels lost_channels(const Network& network, const faults::Unbypassable& unbypassable) {
  const std::vector<std::uint8_t>& spoiled = unbypassable.spoiled_column;
  LostChannels lost;
  for (const Stage& stage : network.stages) {
    std::vector<std::uint8_t> channels(static_cast<std::size_t>(stage.gemm_out.channels), 0);
    const std::int64_t per_group = stage.gemm_out.channels / stage.groups;
    // A normalisation reads neighbours, an add its own channel of both.
    const std::int64_t reach = stage.kind == StageKind::local_response_norm ? stage.lrn.size / 2 : 0;
    for (std::int64_t c = 0; c < std::ssize(channels); ++c) {
      if (stage.on_chip()) {
        channels[c] = spoiled[static_cast<std::size_t>(c % per_group) % spoiled.size()];
        continue;
      }
      for (const int source : stage.inputs)
        for (std::int64_t near = std::max<std::int64_t>(0, c - reach);
             source != kImage && near <= std::min<std::int64_t>(c + reach, std::ssize(channels) - 1); ++near)
          channels[c] |= lost[static_cast<std::size_t>(source)][near];
    }
    lost.push_back(std::move(channels));
  }
  return lost;
}

Masks pruning_masks(const Network& network, const faults::ArrayFaults& faults,
                    const configs::ChipConfig& chip, const faults::Unbypassable& unbypassable) {
  Masks masks = pruning_masks(network, faults::with_avoided(faults, unbypassable), chip);
  const LostChannels lost = lost_channels(network, unbypassable);
  for (const Stage& stage : network.stages) {
    if (!stage.on_chip() || stage.inputs.front() == kImage) continue;
    const auto& source = lost[static_cast<std::size_t>(stage.inputs.front())];
    // After a flatten a channel stands in as many places as it has pixels.
    const std::int64_t pixels = stage.in.channels / std::ssize(source);
    const std::int64_t inputs = stage.in.channels / stage.groups, window = stage.kernel * stage.kernel;
    const std::int64_t per_group = stage.gemm_out.channels / stage.groups;
    auto& mask = masks.at(stage.name + ".weight").data;
    for (std::int64_t o = 0; o < stage.gemm_out.channels; ++o)
      for (std::int64_t i = 0; i < inputs; ++i)
        if (source[(o / per_group * inputs + i) / pixels] != 0)
          std::fill_n(mask.begin() + (o * inputs + i) * window, window, 0);
  }
  return masks;
}

double mapped_fault_rate(const Stage& stage, const faults::ArrayFaults& faults,
                         const configs::ChipConfig& chip) {
  if (!stage.on_chip()) return 0;
  const array::LayerShape shape = stage.layer_shape(1);
  const array::Tiling tiling = array::make_tiling(shape, chip.array.rows, chip.array.cols, chip.convolution);
  // How many tiles use a row or a column of the array.
  const auto tiles_using = [](const std::vector<array::Range>& tiles, int line) {
    return std::count_if(tiles.begin(), tiles.end(), [&](const auto& tile) { return tile.count > line; });
  };
  std::vector<std::int64_t> of_column;
  for (int c = 0; c < faults.cols; ++c) of_column.push_back(tiles_using(tiling.n_tiles, c));
  std::int64_t pruned = 0;
  for (int r = 0; r < faults.rows; ++r) {
    std::int64_t columns = 0;
    for (int c = 0; c < faults.cols; ++c)
      if (faults.bypassed(r, c)) columns += of_column[static_cast<std::size_t>(c)];
    if (columns > 0) pruned += columns * tiles_using(tiling.k_tiles, r) * stage.groups;
  }
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

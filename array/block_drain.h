// What the activation unit makes of a block of results: bias, requantisation, ReLU and pooling of what stands
// in the accumulators, block by block in the order of LayerPlan. Values only; when is array/tile_supply.h.
// Pure C++.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "array/layer_plan.h"
#include "array/requantize.h"

namespace kintsugi::array {

class BlockDrain {
 public:
  // `table` (out_c records; empty: results stay int32), `plan` and `launch` must outlive it.
  BlockDrain(const LayerPlan& plan, const LayerLaunch& launch, std::span<const Requantization> table);

  // `accumulators`: positions × columns of the block, int32. Returns what the block writes, in the order of
  // LayerPlan::result_places: int32 or int8 results, with pooling those pooled positions that it completes.
  // Blocks must come in order.
  std::vector<std::byte> drain(std::int64_t block, std::span<const std::int32_t> accumulators);

  // With pooling: the map before it, M×out_c, as far as drained.
  std::span<const std::int8_t> before_pooling() const { return map_; }

 private:
  std::vector<std::byte> pooled(std::int64_t block) const;

  const LayerPlan& plan_;
  const LayerLaunch& launch_;
  std::span<const Requantization> table_;
  std::vector<std::int8_t> map_;
};

}  // namespace kintsugi::array

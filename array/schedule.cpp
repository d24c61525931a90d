#include "array/schedule.h"

#include <algorithm>

namespace kintsugi::array {

CycleBreakdown ideal_breakdown(const LayerShape& shape, const Tiling& tiling, std::int64_t rows,
                               std::int64_t cols, bool weight_double_buffer) {
  CycleBreakdown counts;
  if (tiling.tiles() == 0) return counts;
  // Tiles of equal stream length need not be listed one by one: only the last one's place matters.
  const std::int64_t repeats =
      shape.groups * static_cast<std::int64_t>(tiling.k_tiles.size() * tiling.n_tiles.size());
  const std::int64_t drain = rows + cols - 2;
  for (const Range& chunk : tiling.m_chunks) {
    counts.active += repeats * chunk.count;
    // Behind a shadow register a load hides behind the stream before it, unless that is shorter.
    counts.weight_shift +=
        repeats * (weight_double_buffer ? std::max<std::int64_t>(0, rows - chunk.count) : rows);
    if (!weight_double_buffer) counts.pipeline += repeats * drain;
  }
  if (!weight_double_buffer) return counts;
  // The first load is in the open, and none follows the last stream.
  counts.weight_shift += rows - std::max<std::int64_t>(0, rows - tiling.m_chunks.back().count);
  counts.pipeline = drain;
  return counts;
}

}  // namespace kintsugi::array

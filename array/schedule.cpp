#include "array/schedule.h"

#include <algorithm>
#include <vector>

namespace kintsugi::array {

std::int64_t chain_cycles(std::span<const std::int64_t> m, std::int64_t rows, std::int64_t cols,
                          bool weight_double_buffer) {
  if (m.empty()) return 0;
  std::int64_t cycles = 0;
  if (!weight_double_buffer) {
    for (const std::int64_t length : m) cycles += rows + stream_cycles(length, rows, cols);
    return cycles;
  }
  // The first load is in the open; every later one hides behind the stream before it, unless that is shorter.
  cycles = rows;
  for (const std::int64_t length : m.first(m.size() - 1)) cycles += std::max(length, rows);
  return cycles + stream_cycles(m.back(), rows, cols);
}

std::int64_t layer_cycles(const LayerShape& shape, const Tiling& tiling, std::int64_t rows, std::int64_t cols,
                          bool weight_double_buffer) {
  // Tiles of equal stream length need not be listed one by one: only the last one's place matters.
  if (tiling.tiles() == 0) return 0;
  const std::int64_t repeats =
      shape.groups * static_cast<std::int64_t>(tiling.k_tiles.size() * tiling.n_tiles.size());
  std::int64_t cycles = 0;
  for (const Range& chunk : tiling.m_chunks)
    cycles += repeats * (weight_double_buffer ? std::max(chunk.count, rows)
                                              : rows + stream_cycles(chunk.count, rows, cols));
  if (!weight_double_buffer) return cycles;
  const std::int64_t last = tiling.m_chunks.back().count;
  return rows + cycles - std::max(last, rows) + stream_cycles(last, rows, cols);
}

}  // namespace kintsugi::array

// When: the map (m, r, c) <-> cycle of the weight-stationary array, and cycle counts in closed form.
//
// Used by the functional engine and by reports. The clocked engines never call it: their cycles emerge from
// registers, and tests hold the two against each other.
#pragma once

#include <cstdint>
#include <optional>

#include "array/layer_cost.h"
#include "array/layer_shape.h"

namespace kintsugi::array {

// Cycle, counted from the start of a stream, at which PE (r, c) handles activation m: m + r + c.
constexpr std::int64_t compute_cycle(std::int64_t m, std::int64_t r, std::int64_t c) {
  return m + r + c;
}
// The inverse: which m PE (r, c) handles at `cycle`, if any of 0 … stream_length−1.
constexpr std::optional<std::int64_t> stream_position(std::int64_t cycle, std::int64_t r, std::int64_t c,
                                                      std::int64_t stream_length) {
  const std::int64_t m = cycle - r - c;
  if (m < 0 || m >= stream_length) return std::nullopt;
  return m;
}

// One tile whose weights are in place: cycles until the last output is ready, M + R + C − 2.
constexpr std::int64_t stream_cycles(std::int64_t m, std::int64_t rows, std::int64_t cols) {
  return m + rows + cols - 2;
}

// A whole layer with ideal memory: its tiles of all groups in one chain, in the order of Tiling.
// Double-buffered it takes R + Σ_{i<T} max(M_i, R) + M_T + R + C − 2 cycles, otherwise Σ (R + M_i + R + C −
// 2), as SCALE-Sim.
CycleBreakdown ideal_breakdown(const LayerShape& shape, const Tiling& tiling, std::int64_t rows,
                               std::int64_t cols, bool weight_double_buffer);

}  // namespace kintsugi::array

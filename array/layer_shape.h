// The work the array is given: one convolution (a GEMM is the 1×1 case), its tiles, and its operands.
#pragma once

#include <cstdint>
#include <vector>

#include "configs/chip.h"

namespace kintsugi::array {

// A convolution over a batch. Activations are int8 in N, H, W, C order (batch, y, x, channel). Weights are
// int8, for each group a K×N matrix, row-major, k = (ky·KW + kx)·(Cin/groups) + ci. Results are M×(groups·N),
// that is N, H, W, C again: m = (b·OH + oy)·OW + ox, column g·N + n.
struct LayerShape {
  std::int64_t batch = 1;
  std::int64_t in_h = 1, in_w = 1, in_c = 1;
  std::int64_t kernel_h = 1, kernel_w = 1;
  std::int64_t stride = 1;
  std::int64_t padding = 0;
  std::int64_t groups = 1;
  std::int64_t out_c = 1;

  std::int64_t out_h() const { return (in_h + 2 * padding - kernel_h) / stride + 1; }
  std::int64_t out_w() const { return (in_w + 2 * padding - kernel_w) / stride + 1; }
  // GEMM sizes, per group.
  std::int64_t m() const { return batch * out_h() * out_w(); }
  std::int64_t k() const { return kernel_h * kernel_w * (in_c / groups); }
  std::int64_t n() const { return out_c / groups; }
  std::int64_t macs() const { return m() * k() * n() * groups; }
  std::int64_t activation_bytes() const { return batch * in_h * in_w * in_c; }
  std::int64_t weight_bytes() const { return k() * n() * groups; }
  std::int64_t outputs() const { return m() * out_c; }
  bool is_gemm() const { return kernel_h == 1 && kernel_w == 1 && stride == 1 && padding == 0; }
  friend bool operator==(const LayerShape&, const LayerShape&) = default;
};

// Operands as described at LayerShape. Pointers stay the caller's.
struct LayerJob {
  LayerShape shape;
  const std::int8_t* activations = nullptr;
  const std::int8_t* weights = nullptr;
  std::int32_t* accumulators = nullptr;  // M×out_c, overwritten
};

// M×K times K×N.
LayerShape gemm_shape(std::int64_t m, std::int64_t k, std::int64_t n);

struct Range {
  std::int64_t begin = 0;
  std::int64_t count = 0;
};

// How one group's GEMM is cut. Order of execution: n-tiles, then m-chunks, then k-tiles. Row r of the array
// holds k = k_tile.begin + r; column c holds n = n_tile.begin + c.
struct Tiling {
  std::vector<Range> k_tiles;   // each at most `rows` long
  std::vector<Range> n_tiles;   // each at most `cols` long
  std::vector<Range> m_chunks;  // full ones first, then the remainder

  std::int64_t tiles() const {
    return static_cast<std::int64_t>(k_tiles.size() * n_tiles.size() * m_chunks.size());
  }
};

// `accumulator_entries` bounds an m-chunk; 0 means any depth (ideal memory).
Tiling make_tiling(const LayerShape& shape, int rows, int cols, configs::ConvolutionMapping mapping,
                   std::int64_t accumulator_entries = 0);

}  // namespace kintsugi::array

#include "array/layer_shape.h"

#include <algorithm>

namespace kintsugi::array {

namespace {

// Appends pieces of [begin, begin + count), full ones first, then the remainder.
void cut(std::int64_t begin, std::int64_t count, std::int64_t piece, std::vector<Range>& out) {
  for (std::int64_t done = 0; done < count; done += piece)
    out.push_back({begin + done, std::min(piece, count - done)});
}

}  // namespace

LayerShape gemm_shape(std::int64_t m, std::int64_t k, std::int64_t n) {
  LayerShape shape;
  shape.batch = m;
  shape.in_c = k;
  shape.out_c = n;
  return shape;
}

Tiling make_tiling(const LayerShape& shape, int rows, int cols, configs::ConvolutionMapping mapping,
                   std::int64_t accumulator_entries) {
  Tiling tiling;
  // In the channel mapping a tile stays within one kernel position (ky, kx), which is one run of Cin values
  // of k; in im2col the whole of K is one run.
  const std::int64_t run =
      mapping == configs::ConvolutionMapping::channel ? shape.in_c / shape.groups : shape.k();
  for (std::int64_t k = 0; k < shape.k(); k += run) cut(k, run, rows, tiling.k_tiles);
  cut(0, shape.n(), cols, tiling.n_tiles);
  cut(0, shape.m(), accumulator_entries > 0 ? accumulator_entries : shape.m(), tiling.m_chunks);
  return tiling;
}

}  // namespace kintsugi::array

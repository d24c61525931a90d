// A layer prepared for machines without AVX-512 VNNI, on operands widened to 16 bits: plain columns are one
// matrix product, columns with breaks are chains, and plain columns to the right of broken activation
// registers are corrected where few rows are altered.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "array/column_chain.h"
#include "array/int8_gemm.h"
#include "array/layer_context.h"
#include "array/layer_shape.h"

namespace kintsugi::array {

// Working memory of one block of stream positions.
struct WidenedScratch {
  std::vector<std::int16_t> widened;
  std::vector<std::int8_t> rows;       // gathered activations
  std::vector<std::int32_t> products;  // of the columns that are plain dot products
  ActivationBlock edge, seen;          // as they enter a row, as the current column sees them
};

class WidenedLayer {
 public:
  // As for VnniLayer.
  void prepare(const LayerContext& context, const LayerJob& job);
  void run(const LayerContext& context, const LayerJob& job, ScratchPool<WidenedScratch>& scratch) const;

  std::size_t bytes() const;
  std::string describe() const;

 private:
  struct GroupWork;
  void prepare_products(const LayerContext& context, const LayerJob& job);
  void prepare_chains(const LayerContext& context, const LayerJob& job);
  void run_block(const LayerContext& context, const LayerJob& job, std::int64_t begin, std::int64_t count,
                 WidenedScratch& scratch) const;
  void run_products(const LayerContext& context, const GroupWork& work, WidenedScratch& scratch) const;
  void run_columns(const LayerContext& context, const GroupWork& work, WidenedScratch& scratch) const;
  void correct(const LayerContext& context, const GroupWork& work, const Range& k_tile, std::int64_t n,
               int col, const WidenedScratch& scratch, std::int32_t* sums) const;
  std::size_t tile_index(std::int64_t group, std::size_t n_tile, std::size_t k_tile) const {
    return (static_cast<std::size_t>(group) * tiling_.n_tiles.size() + n_tile) * tiling_.k_tiles.size() +
           k_tile;
  }

  LayerShape shape_;
  Tiling tiling_;
  bool wide_ = true, has_chains_ = false, has_corrections_ = false;
  std::vector<std::uint8_t> chained_;             // by column of the array
  std::vector<std::int64_t> plain_;               // columns n of a group that are matrix products
  std::vector<WidenedPanels> packed_;             // by group; or by (group, k-tile) of a narrow accumulator
  std::vector<std::vector<ColumnChain>> chains_;  // by (group, n-tile, k-tile), then chained columns in order
};

}  // namespace kintsugi::array

// A layer prepared for AVX-512 VNNI: which columns are matrix products and which are chains, both compiled
// for one set of weights and one chip. Running it allocates nothing once working memory has grown.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "array/layer_context.h"
#include "array/layer_shape.h"
#include "array/vnni_chain.h"
#include "array/vnni_column.h"
#include "array/vnni_product.h"

namespace kintsugi::array {

// Working memory of one thread.
struct VnniScratch {
  ProductScratch product;
  std::vector<std::int8_t> rows;         // gathered activations
  AlignedBuffer<std::int32_t> products;  // where a narrow accumulator wraps tile by tile
  QuadBlock quads;
  AlignedBuffer<std::int32_t> sums;    // of chains, by column
  AlignedBuffer<std::int32_t> totals;  // over k-tiles
};

class VnniLayer {
 public:
  // Compiles job.shape (of any batch) with job.weights for the chip.
  void prepare(const LayerContext& context, const LayerJob& job);
  // job: the same layer and weights; any batch, any operands.
  void run(const LayerContext& context, const LayerJob& job, ScratchPool<VnniScratch>& scratch) const;

  std::size_t bytes() const;
  // Which paths were chosen, for the log.
  std::string describe() const;

 private:
  using Group = std::vector<int>;  // up to four chained columns of one n-tile
  void choose(const LayerContext& context);
  void choose_chains(const LayerContext& context);
  void prepare_products(const LayerContext& context, const LayerJob& job);
  void prepare_chains(const LayerContext& context, const LayerJob& job);
  void run_products(const LayerContext& context, const LayerJob& job,
                    ScratchPool<VnniScratch>& scratch) const;
  void run_narrow_products(const LayerContext& context, const LayerJob& job, std::int64_t begin,
                           std::int64_t count, VnniScratch& scratch) const;
  void prepare_columns(const LayerContext& context, const LayerJob& job);
  void run_single_columns(const LayerContext& context, const LayerJob& job, std::int64_t begin,
                          std::int64_t count, VnniScratch& scratch) const;
  void run_chains(const LayerContext& context, const LayerJob& job, std::int64_t begin, std::int64_t count,
                  VnniScratch& scratch) const;

  LayerShape shape_;
  Tiling tiling_;
  bool wide_ = true, alters_ = false;
  std::vector<std::uint8_t> chained_;  // by column n of a group of the convolution
  std::vector<std::int64_t> panels_;   // that hold a column that is a product
  std::vector<PackedWeights> packed_;  // by group; or by (group, k-tile) of a narrow accumulator
  WindowClasses windows_;
  std::vector<std::vector<Group>> groups_;  // by n-tile
  std::vector<std::size_t> first_program_;  // of an n-tile, among those of one (group, k-tile)
  std::size_t programs_per_tile_ = 0;
  std::vector<ChainProgram> programs_;  // by (group, k-tile), then n-tile, then group of columns
  // Or, where events are dense, single columns; by (group, k-tile), then chained columns.
  bool single_ = false;
  double single_cost_ = 0, four_cost_ = 0;
  std::vector<ColumnProgram> columns_;
  std::int64_t chain_columns_ = 0;
  std::vector<std::int64_t> chain_places_;            // their columns n
  std::vector<std::vector<Alteration>> alterations_;  // by column of the array
};

}  // namespace kintsugi::array

// A layer prepared for AVX-512 VNNI: which columns are matrix products and which are chains, both compiled
// for one set of weights and one chip. Running it allocates nothing once working memory has grown.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "array/layer_context.h"
#include "array/layer_shape.h"
#include "array/vnni_chain.h"
#include "array/vnni_product.h"

namespace kintsugi::array {

// Working memory of one thread.
struct VnniScratch {
  ProductScratch product;
  std::vector<std::int8_t> rows;         // gathered activations
  AlignedBuffer<std::int32_t> products;  // where a narrow accumulator wraps tile by tile
  QuadBlock quads;
  AlignedBuffer<std::int32_t> sums;  // of chains, by column
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
  void choose(const LayerContext& context);
  void prepare_products(const LayerContext& context, const LayerJob& job);
  void prepare_chains(const LayerContext& context, const LayerJob& job);
  void run_products(const LayerContext& context, const LayerJob& job,
                    ScratchPool<VnniScratch>& scratch) const;
  void run_narrow_products(const LayerContext& context, const LayerJob& job, std::int64_t begin,
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
  // Chains, where an n-tile has any: code by (n-tile, k-tile), weights by (group, n-tile, k-tile).
  std::vector<std::shared_ptr<const ChainCode>> codes_;
  std::vector<std::vector<std::int32_t>> streams_;
  std::int64_t chain_columns_ = 0;
};

}  // namespace kintsugi::array

// How a layer runs on a chip: its tiles, and with a memory system what must be moved for them. Addresses and
// sizes only: nothing here knows a cycle. docs/timing.md has the rules.
//
// Tiles are numbered in the order of execution: groups, then n-tiles, m-chunks and k-tiles. A block is all
// k-tiles of one n-tile and one m-chunk: they share a place in the accumulators.
#pragma once

#include <cstdint>
#include <vector>

#include "array/accelerator.h"
#include "array/layer_shape.h"
#include "configs/chip.h"
#include "memory/transfer.h"

namespace kintsugi::array {

// The other memories of the chip, behind the unified buffer on the platform's bus: slot s of the weight FIFO
// at s·R·C (a tile's weights in use, row by row); the accumulators of position p of a half (int32 × C) at
// p·4·C.
inline constexpr std::uint64_t kFifoBase = std::uint64_t{1} << 45;
inline constexpr std::uint64_t kAccumulatorBase = std::uint64_t{1} << 46;

// Stream positions that the accumulators of a chip hold for one block, the most that an m-chunk can have; 0:
// any number (ideal memory).
std::int64_t accumulator_depth(const configs::ChipConfig& chip);

class LayerPlan {
 public:
  // Throws common::InputError if the working space in the unified buffer is too small for the layer.
  LayerPlan(const LayerLaunch& launch, const configs::ChipConfig& chip);
  // Only what a layer that follows needs to have its first block's weights fetched ahead: k_tiles() and
  // weights() of tiles below it.
  LayerPlan(const NextWeights& next, const configs::ChipConfig& chip);

  // The same weights, cut the same way.
  bool same_weights(const LayerPlan& other) const {
    return shape() == other.shape() && launch_.weights == other.launch_.weights;
  }
  const LayerShape& shape() const { return launch_.shape; }
  const Tiling& tiling() const { return tiling_; }
  std::int64_t tiles() const { return blocks() * k_tiles(); }
  std::int64_t blocks() const {
    return shape().groups * static_cast<std::int64_t>(tiling_.n_tiles.size() * tiling_.m_chunks.size());
  }
  std::int64_t k_tiles() const { return static_cast<std::int64_t>(tiling_.k_tiles.size()); }

  std::int64_t block_of(std::int64_t tile) const { return tile / k_tiles(); }
  bool first_of_block(std::int64_t tile) const { return tile % k_tiles() == 0; }
  bool last_of_block(std::int64_t tile) const { return tile % k_tiles() == k_tiles() - 1; }
  const Range& m_of(std::int64_t block) const;
  const Range& n_of(std::int64_t block) const;
  const Range& k_of(std::int64_t tile) const { return tiling_.k_tiles[tile % k_tiles()]; }
  std::int64_t group_of(std::int64_t block) const;

  // ---- Weights: a request per tile ----
  // `slot`: of the weight FIFO.
  std::vector<memory::Run> weights(std::int64_t tile, std::int64_t slot) const;

  // ---- Activations: requests for what is not in the unified buffer yet ----
  bool slabs() const { return slabs_; }  // requests per block, in two places by turns; else once for all
  std::int64_t activation_requests() const;
  std::vector<memory::Run> activations(std::int64_t request) const;
  // With slabs: the block that a request is for.
  std::int64_t block_of_request(std::int64_t request) const;
  // How many requests must be complete before a stream of this block can be read.
  std::int64_t activations_needed(std::int64_t block) const;

  // ---- Outputs: a request per block, if their home is DRAM ----
  bool writes_dram() const { return !output_in_buffer_; }
  std::int64_t elements(std::int64_t block) const { return m_of(block).count * n_of(block).count; }
  // Positions of the result that the block completes, [begin, begin + count): with pooling those of the
  // pooled map.
  Range positions(std::int64_t block) const;
  std::int64_t output_bytes(std::int64_t block) const;
  std::vector<memory::Run> outputs(std::int64_t block) const;
  // Where the block's result is put in the unified buffer: the runs' places in order (of 1 × output_bytes if
  // staged, else position by position in the map itself).
  std::vector<memory::Run> result_places(std::int64_t block) const;

  // Bytes that do not depend on time: all of Traffic but what the DRAM sees.
  Traffic traffic_on_chip(const configs::ArrayConfig& array) const;

 private:
  void choose_chunk(const configs::ChipConfig& chip);
  void place_input();
  // Bytes of the input map that positions [begin, begin + count) read: [first, second).
  std::pair<std::int64_t, std::int64_t> slab(const Range& m) const;
  // Pooled positions complete once the first `m` positions of the convolution are.
  std::int64_t pooled_before(std::int64_t m) const;
  std::int64_t largest_slab() const;
  std::int64_t largest_output() const;

  LayerLaunch launch_;
  Tiling tiling_;
  int rows_, cols_;
  std::int64_t element_bytes_;  // of a result
  bool input_in_buffer_, output_in_buffer_;
  bool slabs_ = false;
  std::uint64_t space_ = 0;         // working space: address
  std::int64_t slab_bytes_ = 0;     // distance of the two slabs
  std::int64_t staging_ = 0;        // offset of the staging in the working space
  std::int64_t staging_bytes_ = 0;  // distance of its two halves
  // Whole input: requests as byte ranges, and how many of them an m-chunk needs. Slabs: the m-chunks that
  // read anything (those whose windows lie in the padding do not), and how many of them stand up to a chunk.
  std::vector<Range> fetches_;
  std::vector<std::int64_t> reading_chunks_;
  std::vector<std::int64_t> fetches_needed_;
};

}  // namespace kintsugi::array

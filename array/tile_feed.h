// What the edges of the clocked arrays are wired to: which value of a job's operands a row, a column or a
// result belongs to. Addresses only: nothing here knows a cycle, and no value is computed but the zero that
// spare rows, spare columns and a convolution's padding carry.
//
// Tiles are numbered in the order of execution: groups, then n-tiles, m-chunks and k-tiles (see Tiling).
#pragma once

#include <cstdint>

#include "array/layer_shape.h"

namespace kintsugi::array {

// One tile: rows hold k.begin + r, columns hold n.begin + c, the stream is m.begin + (0 … m.count−1).
struct TileWork {
  std::int64_t group = 0;
  Range m, k, n;
};

class TileFeed {
 public:
  TileFeed() = default;  // no tiles
  // The job's operands must outlive the feed.
  TileFeed(const LayerJob& job, Tiling tiling);

  std::int64_t tiles() const { return tiles_; }
  TileWork tile(std::int64_t index) const;

  // The im2col address generator of row r: the value at stream position m (0 … m.count−1) of a tile.
  std::int8_t activation(const TileWork& tile, std::int64_t m, std::int64_t r) const;
  // The weight of PE (r, c).
  std::int8_t weight(const TileWork& tile, std::int64_t r, std::int64_t c) const;
  // Row r's weights from column 0 on (n.count of them); null for a spare row.
  const std::int8_t* weight_row(const TileWork& tile, std::int64_t r) const;
  // Where column c's result for stream position m is accumulated; null for a spare column.
  std::int32_t* accumulator(const TileWork& tile, std::int64_t m, std::int64_t c) const;

  const LayerJob& job() const { return job_; }

 private:
  LayerJob job_;
  Tiling tiling_;
  std::int64_t tiles_ = 0;
};

// A row's address generator as counters instead of divisions: the values of TileFeed::activation for one tile
// and row, in stream order.
class ActivationWalker {
 public:
  void begin(const TileFeed& feed, const TileWork& tile, std::int64_t r);
  // Writes the next `count` values to at[0], at[−1], … : as they stand in a row of registers, which the first
  // of them is the first to leave. Not beyond the end of the stream.
  void fill(std::int8_t* at, std::int64_t count);

 private:
  void seek();

  const std::int8_t* activations_ = nullptr;
  LayerShape shape_;
  std::int64_t out_h_ = 0, out_w_ = 0;
  bool used_ = false, gemm_ = false;
  std::int64_t channel_ = 0, kernel_y_ = 0, kernel_x_ = 0;
  std::int64_t image_ = 0, out_y_ = 0, out_x_ = 0;
  std::int64_t y_ = 0, x_ = 0, address_ = 0;
};

}  // namespace kintsugi::array

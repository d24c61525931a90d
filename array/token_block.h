// A block of clocked cycles of one tile as the functional engine's timed columns see them, and the
// activations that the left edge feeds in them.
//
// Cycles are named by their tokens: what enters the array's corner in one cycle meets PE (r, c) r + c cycles
// later, and everything that the PE then reads was made of the same token by its neighbours. So a column can
// be computed token by token, whatever enters before and after; only a PE at risk looks at the token before.
#pragma once

#include <cstdint>
#include <vector>

#include "array/aligned.h"
#include "array/tile_feed.h"

namespace kintsugi::array {

inline constexpr std::int64_t kTokenWidth = 64;  // activations lie in groups of so many tokens

class TokenBlock {
 public:
  // The array's rows.
  explicit TokenBlock(int rows) : rows_(rows) {}

  // Positions first … first + stream − 1 of the tile.
  void begin(const TileFeed& feed, std::int64_t tile, std::int64_t first, std::int64_t stream);
  // Idle cycles after the tile's last position: `drain` of them, the first of `all_drain` that there are (in
  // the rest nothing changes), and if weights are `loaded` straight into the registers in use, as many as
  // rows, in which the weights of the tile that follows come into use.
  void add_idle(std::int64_t drain, std::int64_t all_drain, bool loaded);

  // Gathers the activations of row pairs [begin, end); any order, different pairs by any threads.
  void gather(std::int64_t begin_pair, std::int64_t end_pair);

  std::int64_t tile() const { return tile_; }
  const TileWork& work() const { return work_; }
  std::int64_t first() const { return first_; }
  std::int64_t stream() const { return stream_; }
  std::int64_t tokens() const { return stream_ + drain_ + (loaded_ ? rows_ : 0); }
  bool loaded() const { return loaded_; }
  // Rows that the tile uses; the edge feeds zeros into the others.
  int rows_used() const { return static_cast<int>(work_.k.count); }
  std::int64_t pairs() const { return (rows_used() + 1) / 2; }

  // Where the token stands in its stream, idle cycles counting on.
  std::int64_t position(std::int64_t token) const {
    const std::int64_t idle = token - stream_;
    return first_ + token + (idle >= drain_ ? all_drain_ - drain_ : 0);
  }
  // The first token for which row r has the weight of the tile that follows. The load's last row sent is row
  // 0's; all rows of a column latch at once, r cycles before row 0's token of that cycle would meet row r.
  std::int64_t switch_token(int r) const {
    return loaded_ && r > 0 ? stream_ + drain_ + rows_ - r : tokens();
  }

  // What the edge feeds row r < rows_used() in the stream's cycles.
  const std::int8_t* row(int r) const { return bytes_.data() + r * stride_; }
  // Rows 2p and 2p + 1 of tokens g·kTokenWidth …, as pairs of 16-bit numbers.
  const std::int32_t* words(std::int64_t group, std::int64_t p) const {
    return words_.data() + (group * pairs() + p) * kTokenWidth;
  }
  std::int64_t groups() const { return stride_ / kTokenWidth; }

 private:
  int rows_;
  const TileFeed* feed_ = nullptr;
  std::int64_t tile_ = 0;
  TileWork work_;
  std::int64_t first_ = 0, stream_ = 0, drain_ = 0, all_drain_ = 0;
  bool loaded_ = false;
  std::int64_t stride_ = 0;
  AlignedVector<std::int8_t> bytes_;
  AlignedVector<std::int32_t> words_;
};

}  // namespace kintsugi::array

#include "array/token_block.h"

#include <algorithm>

namespace kintsugi::array {

void TokenBlock::begin(const TileFeed& feed, std::int64_t tile, std::int64_t first, std::int64_t stream) {
  feed_ = &feed;
  tile_ = tile;
  work_ = feed.tile(tile);
  first_ = first;
  stream_ = stream;
  drain_ = all_drain_ = 0;
  loaded_ = false;
  stride_ = (stream + kTokenWidth - 1) / kTokenWidth * kTokenWidth;
  bytes_.resize(static_cast<std::size_t>(2 * pairs() * stride_));
  words_.resize(static_cast<std::size_t>(pairs() * stride_));
}

void TokenBlock::add_idle(std::int64_t drain, std::int64_t all_drain, bool loaded) {
  drain_ = drain;
  all_drain_ = all_drain;
  loaded_ = loaded;
}

void TokenBlock::gather(std::int64_t begin_pair, std::int64_t end_pair) {
  const LayerJob& job = feed_->job();
  const int first_row = static_cast<int>(2 * begin_pair);
  const int last_row = static_cast<int>(std::min<std::int64_t>(2 * end_pair, rows_used()));
  if (job.shape.is_gemm()) {
    // Group by group, so that what is read of the rows of the matrix stays in the cache.
    const std::int64_t channels = job.shape.in_c;
    const std::int8_t* from = job.activations + (work_.m.begin + first_) * channels +
                              work_.group * (channels / job.shape.groups) + work_.k.begin;
    for (std::int64_t t0 = 0; t0 < stream_; t0 += kTokenWidth)
      for (int r = first_row; r < last_row; ++r) {
        std::int8_t* to = bytes_.data() + r * stride_;
        for (std::int64_t t = t0; t < std::min(stream_, t0 + kTokenWidth); ++t)
          to[t] = from[t * channels + r];
      }
  } else {
    for (int r = first_row; r < last_row; ++r) {
      ActivationWalker walker;
      TileWork rest = work_;
      rest.m.begin += first_;
      walker.begin(*feed_, rest, r);
      // It writes from high addresses to low ones.
      std::int8_t* to = bytes_.data() + r * stride_;
      walker.fill(to + stream_ - 1, stream_);
      std::reverse(to, to + stream_);
    }
  }
  for (int r = first_row; r < static_cast<int>(2 * end_pair); ++r) {
    std::int8_t* to = bytes_.data() + r * stride_;
    if (r < last_row)
      std::fill(to + stream_, to + stride_, std::int8_t{0});
    else
      std::fill(to, to + stride_, std::int8_t{0});
  }
  for (std::int64_t p = begin_pair; p < end_pair; ++p) {
    const std::int8_t* low = bytes_.data() + 2 * p * stride_;
    const std::int8_t* high = low + stride_;
    for (std::int64_t group = 0; group < groups(); ++group) {
      std::int32_t* to = words_.data() + (group * pairs() + p) * kTokenWidth;
      const std::int64_t t0 = group * kTokenWidth;
      for (std::int64_t t = 0; t < kTokenWidth; ++t)
        to[t] = static_cast<std::int32_t>((static_cast<std::uint32_t>(low[t0 + t]) & 0xffffu) |
                                          static_cast<std::uint32_t>(high[t0 + t]) << 16);
    }
  }
}

}  // namespace kintsugi::array

#include "array/tile_feed.h"

#include <algorithm>
#include <utility>

namespace kintsugi::array {

TileFeed::TileFeed(const LayerJob& job, Tiling tiling)
    : job_(job), tiling_(std::move(tiling)), tiles_(job.shape.groups * tiling_.tiles()) {}

TileWork TileFeed::tile(std::int64_t index) const {
  const auto take = [&index](std::size_t count) {
    const std::int64_t digit = index % static_cast<std::int64_t>(count);
    index /= static_cast<std::int64_t>(count);
    return static_cast<std::size_t>(digit);
  };
  TileWork out;
  out.k = tiling_.k_tiles[take(tiling_.k_tiles.size())];
  out.m = tiling_.m_chunks[take(tiling_.m_chunks.size())];
  out.n = tiling_.n_tiles[take(tiling_.n_tiles.size())];
  out.group = index;
  return out;
}

std::int8_t TileFeed::activation(const TileWork& tile, std::int64_t m, std::int64_t r) const {
  if (r >= tile.k.count) return 0;
  const LayerShape& s = job_.shape;
  const std::int64_t channels = s.in_c / s.groups;
  const std::int64_t k = tile.k.begin + r;
  if (s.is_gemm()) return job_.activations[(tile.m.begin + m) * s.in_c + tile.group * channels + k];
  const std::int64_t ci = k % channels, kernel_x = k / channels % s.kernel_w,
                     kernel_y = k / channels / s.kernel_w;
  const std::int64_t position = tile.m.begin + m;
  const std::int64_t out_x = position % s.out_w(), out_y = position / s.out_w() % s.out_h(),
                     image = position / s.out_w() / s.out_h();
  const std::int64_t y = out_y * s.stride + kernel_y - s.padding;
  const std::int64_t x = out_x * s.stride + kernel_x - s.padding;
  if (y < 0 || y >= s.in_h || x < 0 || x >= s.in_w) return 0;
  return job_.activations[((image * s.in_h + y) * s.in_w + x) * s.in_c + tile.group * channels + ci];
}

const std::int8_t* TileFeed::weight_row(const TileWork& tile, std::int64_t r) const {
  if (r >= tile.k.count) return nullptr;
  const std::int64_t k = job_.shape.k(), n = job_.shape.n();
  return job_.weights + (tile.group * k + tile.k.begin + r) * n + tile.n.begin;
}

std::int8_t TileFeed::weight(const TileWork& tile, std::int64_t r, std::int64_t c) const {
  const std::int8_t* row = weight_row(tile, r);
  return row == nullptr || c >= tile.n.count ? std::int8_t{0} : row[c];
}

std::int32_t* TileFeed::accumulator(const TileWork& tile, std::int64_t m, std::int64_t c) const {
  if (c >= tile.n.count) return nullptr;
  const LayerShape& s = job_.shape;
  return job_.accumulators + (tile.m.begin + m) * s.out_c + tile.group * s.n() + tile.n.begin + c;
}

void ActivationWalker::begin(const TileFeed& feed, const TileWork& tile, std::int64_t r) {
  used_ = r < tile.k.count;
  if (!used_) return;
  shape_ = feed.job().shape;
  activations_ = feed.job().activations;
  out_h_ = shape_.out_h();
  out_w_ = shape_.out_w();
  gemm_ = shape_.is_gemm();
  const std::int64_t channels = shape_.in_c / shape_.groups;
  const std::int64_t k = tile.k.begin + r;
  channel_ = tile.group * channels + k % channels;
  kernel_x_ = k / channels % shape_.kernel_w;
  kernel_y_ = k / channels / shape_.kernel_w;
  if (gemm_) {
    address_ = tile.m.begin * shape_.in_c + channel_;
    return;
  }
  out_x_ = tile.m.begin % out_w_;
  out_y_ = tile.m.begin / out_w_ % out_h_;
  image_ = tile.m.begin / out_w_ / out_h_;
  seek();
}

void ActivationWalker::seek() {
  y_ = out_y_ * shape_.stride + kernel_y_ - shape_.padding;
  x_ = out_x_ * shape_.stride + kernel_x_ - shape_.padding;
  address_ = ((image_ * shape_.in_h + y_) * shape_.in_w + x_) * shape_.in_c + channel_;
}

void ActivationWalker::fill(std::int8_t* at, std::int64_t count) {
  if (!used_) {
    for (std::int64_t i = 0; i < count; ++i) at[-i] = 0;
    return;
  }
  const std::int64_t step = gemm_ ? shape_.in_c : shape_.stride * shape_.in_c;
  while (count > 0) {
    // To the end of the row of the output map.
    const std::int64_t run = gemm_ ? count : std::min(count, out_w_ - out_x_);
    if (gemm_ || (y_ >= 0 && y_ < shape_.in_h)) {
      // Padding on the left, values, padding on the right.
      std::int64_t begin = 0, end = run;
      if (!gemm_) {
        while (begin < run && x_ + begin * shape_.stride < 0) ++begin;
        while (end > begin && x_ + (end - 1) * shape_.stride >= shape_.in_w) --end;
      }
      for (std::int64_t i = 0; i < begin; ++i) at[-i] = 0;
      const std::int8_t* from = activations_ + address_;
      for (std::int64_t i = begin; i < end; ++i) at[-i] = from[i * step];
      for (std::int64_t i = end; i < run; ++i) at[-i] = 0;
    } else {
      for (std::int64_t i = 0; i < run; ++i) at[-i] = 0;
    }
    at -= run;
    count -= run;
    address_ += run * step;
    if (gemm_) continue;
    x_ += run * shape_.stride;
    out_x_ += run;
    if (out_x_ < out_w_) continue;
    out_x_ = 0;
    if (++out_y_ == out_h_) {
      out_y_ = 0;
      ++image_;
    }
    seek();
  }
}

}  // namespace kintsugi::array

#include "array/block_drain.h"

#include <algorithm>
#include <cstring>

namespace kintsugi::array {

BlockDrain::BlockDrain(const LayerPlan& plan, const LayerLaunch& launch,
                       std::span<const Requantization> table)
    : plan_(plan), launch_(launch), table_(table) {
  if (launch.pool) map_.resize(static_cast<std::size_t>(launch.shape.outputs()));
}

std::vector<std::byte> BlockDrain::drain(std::int64_t block, std::span<const std::int32_t> accumulators) {
  if (table_.empty()) {
    const auto bytes = std::as_bytes(accumulators);
    return {bytes.begin(), bytes.end()};
  }
  const Range& m = plan_.m_of(block);
  const Range& n = plan_.n_of(block);
  const std::int64_t column = plan_.group_of(block) * launch_.shape.n() + n.begin;
  std::vector<std::int8_t> values(accumulators.size());
  requantize(accumulators,
             table_.subspan(static_cast<std::size_t>(column), static_cast<std::size_t>(n.count)),
             launch_.relu, values);
  if (!launch_.pool) {
    const auto bytes = std::as_bytes(std::span(values));
    return {bytes.begin(), bytes.end()};
  }
  for (std::int64_t i = 0; i < m.count; ++i)
    std::copy_n(values.begin() + i * n.count, n.count,
                map_.begin() + (m.begin + i) * launch_.shape.out_c + column);
  return pooled(block);
}

std::vector<std::byte> BlockDrain::pooled(std::int64_t block) const {
  const MaxPool& pool = launch_.pool->window;
  const LayerShape& shape = launch_.shape;
  const Range positions = plan_.positions(block);
  const Range& n = plan_.n_of(block);
  const std::int64_t column = plan_.group_of(block) * shape.n() + n.begin;
  const std::int64_t height = shape.out_h(), width = shape.out_w();
  std::vector<std::int8_t> out(static_cast<std::size_t>(positions.count * n.count), -128);
  for (std::int64_t i = 0; i < positions.count; ++i) {
    const std::int64_t p = positions.begin + i;
    const std::int64_t image = p / (pool.out_h * pool.out_w);
    const std::int64_t top = p / pool.out_w % pool.out_h * pool.stride - pool.padding;
    const std::int64_t left = p % pool.out_w * pool.stride - pool.padding;
    std::int8_t* best = out.data() + i * n.count;
    for (std::int64_t y = std::max<std::int64_t>(top, 0); y < std::min(top + pool.kernel, height); ++y)
      for (std::int64_t x = std::max<std::int64_t>(left, 0); x < std::min(left + pool.kernel, width); ++x) {
        const std::int8_t* in = map_.data() + ((image * height + y) * width + x) * shape.out_c + column;
        for (std::int64_t c = 0; c < n.count; ++c) best[c] = std::max(best[c], in[c]);
      }
  }
  const auto bytes = std::as_bytes(std::span(out));
  return {bytes.begin(), bytes.end()};
}

}  // namespace kintsugi::array

#include "array/layer_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "common/diagnostics.h"

namespace kintsugi::array {

std::int64_t accumulator_depth(const configs::ChipConfig& chip) {
  if (!chip.memory) return 0;
  const configs::AccumulatorConfig& accumulators = chip.memory->accumulators;
  return accumulators.double_buffer ? accumulators.entries / 2 : accumulators.entries;
}

LayerPlan::LayerPlan(const LayerLaunch& launch, const configs::ChipConfig& chip)
    : launch_(launch), rows_(chip.array.rows), cols_(chip.array.cols) {
  element_bytes_ = launch.requantization ? 1 : 4;
  input_in_buffer_ = !chip.memory || launch.activations >= kBufferBase;
  output_in_buffer_ = !chip.memory || (launch.pool ? launch.pool->result : launch.output) >= kBufferBase;
  if (!chip.memory) {
    tiling_ = make_tiling(shape(), rows_, cols_, chip.convolution);
    return;
  }
  choose_chunk(chip);
  place_input();
}

LayerPlan::LayerPlan(const NextWeights& next, const configs::ChipConfig& chip)
    : rows_(chip.array.rows),
      cols_(chip.array.cols),
      element_bytes_(4),
      input_in_buffer_(true),
      output_in_buffer_(true) {
  launch_.shape = next.shape;
  launch_.weights = next.weights;
  tiling_ = make_tiling(shape(), rows_, cols_, chip.convolution);
}

const Range& LayerPlan::m_of(std::int64_t block) const {
  return tiling_.m_chunks[block % std::ssize(tiling_.m_chunks)];
}

const Range& LayerPlan::n_of(std::int64_t block) const {
  return tiling_.n_tiles[block / std::ssize(tiling_.m_chunks) % std::ssize(tiling_.n_tiles)];
}

std::int64_t LayerPlan::group_of(std::int64_t block) const {
  return block / (std::ssize(tiling_.m_chunks) * std::ssize(tiling_.n_tiles));
}

// ---- Capacities ----

void LayerPlan::choose_chunk(const configs::ChipConfig& chip) {
  const configs::MemoryConfig& memory = *chip.memory;
  space_ = kBufferBase + launch_.buffer_offset;
  const std::int64_t space = launch_.buffer_bytes > 0 ? static_cast<std::int64_t>(launch_.buffer_bytes)
                                                      : memory.unified_buffer.bytes -
                                                            static_cast<std::int64_t>(launch_.buffer_offset);
  std::int64_t chunk = std::min(accumulator_depth(chip), shape().m());
  for (;; chunk = (chunk + 1) / 2) {
    tiling_ = make_tiling(shape(), rows_, cols_, chip.convolution, chunk);
    staging_bytes_ = writes_dram() ? largest_output() : 0;
    const std::int64_t staging = 2 * staging_bytes_;
    if (input_in_buffer_) {
      staging_ = 0;
    } else if (shape().activation_bytes() + staging <= space) {
      slabs_ = false;
      staging_ = shape().activation_bytes();
    } else {
      slabs_ = true;
      slab_bytes_ = largest_slab();
      staging_ = 2 * slab_bytes_;
    }
    if (staging_ + staging <= space) return;
    if (chunk == 1) {
      throw common::InputError(fmt::format(
          "a layer of M {}, K {}, N {} needs at least {} bytes of the unified buffer at once, but has {}; "
          "give the chip a larger 'memory: unified_buffer: size_kib'",
          shape().m(), shape().k(), shape().n(), staging_ + staging, space));
    }
  }
}

std::pair<std::int64_t, std::int64_t> LayerPlan::slab(const Range& m) const {
  const LayerShape& s = shape();
  // Rows of the input map, over all images, that a row of positions reads; empty if its windows lie in the
  // padding.
  const auto rows_of = [&](std::int64_t out_row) {
    const std::int64_t image = out_row / s.out_h(), top = out_row % s.out_h() * s.stride - s.padding;
    return std::pair{image * s.in_h + std::max<std::int64_t>(top, 0),
                     image * s.in_h + std::min(top + s.kernel_h, s.in_h)};
  };
  std::int64_t first = m.begin / s.out_w(), last = (m.begin + m.count - 1) / s.out_w();
  const auto reads = [&](std::int64_t out_row) { return rows_of(out_row).first < rows_of(out_row).second; };
  while (first <= last && !reads(first)) ++first;
  while (first <= last && !reads(last)) --last;
  if (first > last) return {0, 0};
  const std::int64_t row_bytes = s.in_w * s.in_c;
  return {rows_of(first).first * row_bytes, rows_of(last).second * row_bytes};
}

std::int64_t LayerPlan::largest_slab() const {
  std::int64_t most = 0;
  for (const Range& m : tiling_.m_chunks) {
    const auto [begin, end] = slab(m);
    most = std::max(most, end - begin);
  }
  return most;
}

std::int64_t LayerPlan::largest_output() const {
  std::int64_t positions = 0;
  for (const Range& m : tiling_.m_chunks)
    positions = std::max(positions,
                         launch_.pool ? pooled_before(m.begin + m.count) - pooled_before(m.begin) : m.count);
  return positions * std::min<std::int64_t>(shape().n(), cols_) * element_bytes_;
}

void LayerPlan::place_input() {
  if (input_in_buffer_) return;
  std::int64_t have = 0;
  for (std::int64_t chunk = 0; chunk < std::ssize(tiling_.m_chunks); ++chunk) {
    const auto [begin, end] = slab(tiling_.m_chunks[static_cast<std::size_t>(chunk)]);
    if (slabs_) {
      if (end > begin) reading_chunks_.push_back(chunk);
      fetches_needed_.push_back(std::ssize(reading_chunks_));
      continue;
    }
    if (end > have) {
      // What no position reads (rows that a stride skips at the start) comes along.
      fetches_.push_back({have, end - have});
      have = end;
    }
    fetches_needed_.push_back(std::ssize(fetches_));
  }
}

// ---- Requests ----

std::vector<memory::Run> LayerPlan::weights(std::int64_t tile, std::int64_t slot) const {
  const std::int64_t block = block_of(tile);
  const Range& k = k_of(tile);
  const Range& n = n_of(block);
  const std::int64_t width = shape().n();
  const auto from = static_cast<std::int64_t>(launch_.weights) +
                    (group_of(block) * shape().k() + k.begin) * width + n.begin;
  const auto to = static_cast<std::int64_t>(kFifoBase) + slot * rows_ * cols_;
  std::vector<memory::Run> runs;
  if (n.count == width) {  // rows follow each other without a gap
    runs.push_back({static_cast<std::uint64_t>(from), static_cast<std::uint64_t>(to), k.count * width});
    return runs;
  }
  runs.reserve(static_cast<std::size_t>(k.count));
  for (std::int64_t r = 0; r < k.count; ++r)
    runs.push_back({static_cast<std::uint64_t>(from + r * width),
                    static_cast<std::uint64_t>(to + r * n.count), n.count});
  return runs;
}

std::int64_t LayerPlan::activation_requests() const {
  if (input_in_buffer_) return 0;
  if (!slabs_) return std::ssize(fetches_);
  return blocks() / std::ssize(tiling_.m_chunks) * std::ssize(reading_chunks_);
}

std::int64_t LayerPlan::block_of_request(std::int64_t request) const {
  const std::int64_t reading = std::ssize(reading_chunks_);
  return request / reading * std::ssize(tiling_.m_chunks) +
         reading_chunks_[static_cast<std::size_t>(request % reading)];
}

std::vector<memory::Run> LayerPlan::activations(std::int64_t request) const {
  if (slabs_) {
    const std::int64_t block = block_of_request(request);
    const auto [begin, end] = slab(m_of(block));
    return {{launch_.activations + static_cast<std::uint64_t>(begin),
             space_ + static_cast<std::uint64_t>(block % 2 * slab_bytes_), end - begin}};
  }
  const Range& range = fetches_[static_cast<std::size_t>(request)];
  const auto offset = static_cast<std::uint64_t>(range.begin);
  return {{launch_.activations + offset, space_ + offset, range.count}};
}

std::int64_t LayerPlan::activations_needed(std::int64_t block) const {
  if (input_in_buffer_) return 0;
  const std::int64_t chunks = std::ssize(tiling_.m_chunks), chunk = block % chunks, pass = block / chunks;
  const std::int64_t in_pass = fetches_needed_[static_cast<std::size_t>(chunk)];
  if (slabs_) return pass * std::ssize(reading_chunks_) + in_pass;
  // The first pass over the stream brings everything.
  return pass == 0 ? in_pass : std::ssize(fetches_);
}

std::int64_t LayerPlan::pooled_before(std::int64_t m) const {
  const MaxPool& pool = launch_.pool->window;
  const std::int64_t out_h = shape().out_h(), out_w = shape().out_w();
  const std::int64_t image = m / (out_h * out_w), rest = m % (out_h * out_w);
  // The last position that a pooled one reads; it never falls as pooled positions go on.
  const auto last = [&](std::int64_t p) {
    const auto reach = [&](std::int64_t at, std::int64_t size) {
      return std::min(at * pool.stride - pool.padding + pool.kernel, size) - 1;
    };
    const std::int64_t row = p / pool.out_w, end = reach(row, out_h);
    // Several rows of windows may end at the foot of the map; results are written in order, so the later ones
    // wait for all of the first.
    const bool waits = row > 0 && reach(row - 1, out_h) == end;
    return end * out_w + reach(waits ? pool.out_w - 1 : p % pool.out_w, out_w);
  };
  std::int64_t low = 0, high = pool.out_h * pool.out_w;
  while (low < high) {
    const std::int64_t middle = (low + high) / 2;
    if (last(middle) < rest)
      low = middle + 1;
    else
      high = middle;
  }
  return image * pool.out_h * pool.out_w + low;
}

Range LayerPlan::positions(std::int64_t block) const {
  const Range& m = m_of(block);
  if (!launch_.pool) return m;
  const std::int64_t begin = pooled_before(m.begin);
  return {begin, pooled_before(m.begin + m.count) - begin};
}

std::int64_t LayerPlan::output_bytes(std::int64_t block) const {
  return positions(block).count * n_of(block).count * element_bytes_;
}

std::vector<memory::Run> LayerPlan::outputs(std::int64_t block) const {
  const Range p = positions(block);
  const Range& n = n_of(block);
  const std::int64_t pitch = shape().out_c * element_bytes_, width = n.count * element_bytes_;
  const DeviceAddress home = launch_.pool ? launch_.pool->result : launch_.output;
  const auto to = static_cast<std::int64_t>(home) + p.begin * pitch +
                  (group_of(block) * shape().n() + n.begin) * element_bytes_;
  const auto from = static_cast<std::int64_t>(space_) + staging_ + block % 2 * staging_bytes_;
  std::vector<memory::Run> runs;
  if (width == pitch) {
    if (p.count > 0)
      runs.push_back({static_cast<std::uint64_t>(to), static_cast<std::uint64_t>(from), p.count * width});
    return runs;
  }
  runs.reserve(static_cast<std::size_t>(p.count));
  for (std::int64_t i = 0; i < p.count; ++i)
    runs.push_back(
        {static_cast<std::uint64_t>(to + i * pitch), static_cast<std::uint64_t>(from + i * width), width});
  return runs;
}

std::vector<memory::Run> LayerPlan::result_places(std::int64_t block) const {
  std::vector<memory::Run> runs = outputs(block);
  if (output_in_buffer_)
    for (memory::Run& run : runs) run.chip = run.dram;
  return runs;
}

Traffic LayerPlan::traffic_on_chip(const configs::ArrayConfig& array) const {
  Traffic traffic;
  const std::int64_t r = array.rows, c = array.cols, psum = (array.accumulator_bits + 7) / 8;
  for (std::int64_t request = 0; request < activation_requests(); ++request)
    for (const memory::Run& run : activations(request)) traffic.buffer_bytes += run.bytes;
  for (std::int64_t block = 0; block < blocks(); ++block) {
    const std::int64_t m = m_of(block).count, n = n_of(block).count;
    const std::int64_t out = output_bytes(block);
    traffic.buffer_bytes += m * shape().k() + out * (writes_dram() ? 2 : 1);
    traffic.fifo_bytes += 2 * shape().k() * n;
    // The first k-tile is written, later ones are added (read and write), the drain reads.
    traffic.accumulator_bytes += 4 * m * n * 2 * k_tiles();
    // A stream writes every PE's activation and psum register. A row of weights passes the pipe down to its
    // row, and is latched there, once more when it comes into use behind a shadow register.
    const std::int64_t latches = array.weight_double_buffer ? 2 : 1;
    traffic.register_bytes += k_tiles() * (m * r * c * (1 + psum) + c * (r * (r + 1) / 2 + latches * r));
  }
  return traffic;
}

}  // namespace kintsugi::array

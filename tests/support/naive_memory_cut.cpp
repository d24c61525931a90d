// How the witness cuts a layer: chunks, tiles, blocks, requests and transfers.
#include <algorithm>
#include <stdexcept>

#include "tests/support/naive_memory.h"

namespace kintsugi::test {
namespace {

std::int64_t up(std::int64_t a, std::int64_t b) {
  return a / b + (a % b != 0 ? 1 : 0);
}

bool in_buffer(array::DeviceAddress address) {
  return address >= array::kBufferBase;
}

// Bytes of the input map.
struct Slab {
  std::int64_t begin = 0, end = 0;
};

Slab slab_of(const array::LayerShape& s, std::int64_t first, std::int64_t last) {
  Slab slab;
  bool any = false;  // windows may lie in the padding altogether
  for (std::int64_t m = first; m <= last; ++m) {
    const std::int64_t oy = m / s.out_w() % s.out_h(), b = m / s.out_w() / s.out_h();
    for (std::int64_t ky = 0; ky < s.kernel_h; ++ky) {
      const std::int64_t y = oy * s.stride + ky - s.padding;
      if (y < 0 || y >= s.in_h) continue;
      const std::int64_t row = (b * s.in_h + y) * s.in_w * s.in_c, end = row + s.in_w * s.in_c;
      slab.begin = any ? std::min(slab.begin, row) : row;
      slab.end = any ? std::max(slab.end, end) : end;
      any = true;
    }
  }
  return slab;
}

// The pooled positions that the positions first … last complete: their windows, and those before them.
std::vector<std::int64_t> pooled_positions(const array::LayerShape& s, const array::MaxPool& pool,
                                           std::int64_t first, std::int64_t last) {
  std::vector<std::int64_t> positions;
  std::int64_t latest = -1;
  for (std::int64_t b = 0; b < s.batch; ++b)
    for (std::int64_t py = 0; py < pool.out_h; ++py)
      for (std::int64_t px = 0; px < pool.out_w; ++px) {
        for (std::int64_t ky = 0; ky < pool.kernel; ++ky)
          for (std::int64_t kx = 0; kx < pool.kernel; ++kx) {
            const std::int64_t y = py * pool.stride + ky - pool.padding;
            const std::int64_t x = px * pool.stride + kx - pool.padding;
            if (y < 0 || x < 0 || y >= s.out_h() || x >= s.out_w()) continue;
            latest = std::max(latest, (b * s.out_h() + y) * s.out_w() + x);
          }
        if (latest >= first && latest <= last) positions.push_back((b * pool.out_h + py) * pool.out_w + px);
      }
  return positions;
}

std::int64_t result_bytes(const array::LayerLaunch& launch) {
  return launch.requantization ? 1 : 4;
}

array::DeviceAddress result_home(const array::LayerLaunch& launch) {
  return launch.pool ? launch.pool->result : launch.output;
}

// Positions of the result (pooled or not) that the positions first … last complete.
std::vector<std::int64_t> result_positions(const array::LayerLaunch& launch, std::int64_t first,
                                           std::int64_t last) {
  if (launch.pool) return pooled_positions(launch.shape, launch.pool->window, first, last);
  std::vector<std::int64_t> positions;
  for (std::int64_t m = first; m <= last; ++m) positions.push_back(m);
  return positions;
}

}  // namespace

std::optional<NaiveMemory::Cut> NaiveMemory::cut(const array::LayerLaunch& launch, bool& halved) const {
  const array::LayerShape& s = launch.shape;
  const std::int64_t space = launch.buffer_bytes != 0 ? static_cast<std::int64_t>(launch.buffer_bytes)
                                                      : memory_.unified_buffer.bytes -
                                                            static_cast<std::int64_t>(launch.buffer_offset);
  const std::int64_t widest = std::min<std::int64_t>(chip_.array.cols, s.n());
  std::int64_t chunk = memory_.accumulators.entries / (memory_.accumulators.double_buffer ? 2 : 1);
  chunk = std::min(chunk, s.m());
  halved = false;
  for (;;) {
    std::int64_t largest_result = 0, largest_slab = 0;
    for (std::int64_t first = 0; first < s.m(); first += chunk) {
      const std::int64_t last = std::min(first + chunk, s.m()) - 1;
      const auto positions = static_cast<std::int64_t>(result_positions(launch, first, last).size());
      largest_result = std::max(largest_result, positions * widest * result_bytes(launch));
      const Slab slab = slab_of(s, first, last);
      largest_slab = std::max(largest_slab, slab.end - slab.begin);
    }
    const std::int64_t staging = in_buffer(result_home(launch)) ? 0 : 2 * largest_result;
    const bool fetched = !in_buffer(launch.activations);
    if (staging + (fetched ? s.activation_bytes() : 0) <= space) return Cut{chunk, false};
    if (fetched && staging + 2 * largest_slab <= space) return Cut{chunk, true};
    if (chunk == 1) return std::nullopt;
    chunk = up(chunk, 2);
    halved = true;
  }
}

std::vector<NaiveMemory::Pieces> NaiveMemory::transfers_of(const Pieces& runs) const {
  std::vector<Pieces> transfers;
  const auto limit = static_cast<std::uint64_t>(memory_.dma.transfer_bytes);
  std::uint64_t filled = 0;
  bool open = false;
  for (const Piece& run : runs)
    for (std::int64_t i = 0; i < run.bytes; ++i) {
      const std::uint64_t address = run.address + static_cast<std::uint64_t>(i);
      if (!open || filled == limit || (i > 0 && address % limit == 0)) {
        transfers.emplace_back();
        filled = 0;
        open = true;
      }
      // A piece goes on only within its run.
      if (i == 0 || transfers.back().empty()) transfers.back().push_back({address, 0});
      ++transfers.back().back().bytes;
      ++filled;
    }
  return transfers;
}

// The k-tiles of all n-tiles of all groups, once each: what one m-chunk needs, with k, n, address and
// request.
std::vector<NaiveMemory::Tile> NaiveMemory::weight_tiles(const array::LayerShape& s,
                                                         array::DeviceAddress address) const {
  std::vector<Tile> tiles;
  const std::int64_t part =
      chip_.convolution == configs::ConvolutionMapping::channel ? s.in_c / s.groups : s.k();
  for (std::int64_t g = 0; g < s.groups; ++g)
    for (std::int64_t n0 = 0; n0 < s.n(); n0 += chip_.array.cols)
      for (std::int64_t part0 = 0; part0 < s.k(); part0 += part)
        for (std::int64_t k0 = part0; k0 < part0 + part; k0 += chip_.array.rows) {
          Tile tile;
          tile.k = std::min<std::int64_t>(chip_.array.rows, part0 + part - k0);
          tile.n = std::min<std::int64_t>(chip_.array.cols, s.n() - n0);
          tile.first_of_block = k0 == 0;
          tile.last_of_block = k0 + tile.k == s.k();
          tile.column = g * s.n() + n0;
          tile.address = address + static_cast<std::uint64_t>((g * s.k() + k0) * s.n() + n0);
          Pieces runs;
          if (tile.n == s.n()) {
            runs.push_back({tile.address, tile.k * tile.n});
          } else {
            for (std::int64_t r = 0; r < tile.k; ++r)
              runs.push_back({tile.address + static_cast<std::uint64_t>(r * s.n()), tile.n});
          }
          tile.request.transfers = transfers_of(runs);
          tiles.push_back(tile);
        }
  return tiles;
}

void NaiveMemory::add_tiles_and_blocks(Job& job, const array::LayerLaunch& launch, std::int64_t chunk) {
  const array::LayerShape& s = launch.shape;
  job.input_in_dram = !in_buffer(launch.activations);
  job.result_in_dram = !in_buffer(result_home(launch));
  // Tiles that nobody has loaded yet were asked for by the job before.
  std::size_t at = tiles_.size();
  while (at > 0 && tiles_[at - 1].load == kNever) --at;
  const std::size_t announced = tiles_.size();
  job.first_tile = at;
  const std::vector<Tile> pattern = weight_tiles(s, launch.weights);
  for (std::size_t from = 0, to = 0; from < pattern.size(); from = to) {
    while (!pattern[to].last_of_block) ++to;
    ++to;
    for (std::int64_t m0 = 0; m0 < s.m(); m0 += chunk) {
      const std::int64_t m1 = std::min(m0 + chunk, s.m());
      for (std::size_t p = from; p < to; ++p, ++at) {
        if (at >= announced) {
          tiles_.push_back(pattern[p]);
        } else if (tiles_[at].address != pattern[p].address || tiles_[at].k != pattern[p].k ||
                   tiles_[at].n != pattern[p].n) {
          throw std::logic_error("naive memory: another layer was announced");
        }
        tiles_[at].m = m1 - m0;
        tiles_[at].block = static_cast<std::int64_t>(job.blocks.size());
      }
      const std::int64_t n = pattern[from].n;
      const auto positions = result_positions(launch, m0, m1 - 1);
      Block block;
      block.chunk = m0 / chunk;
      block.last_tile = static_cast<std::int64_t>(at) - 1;
      block.elements = (m1 - m0) * n;
      block.bytes_written = static_cast<std::int64_t>(positions.size()) * n * result_bytes(launch);
      Pieces rows;
      for (const std::int64_t p : positions) {
        const std::int64_t element = p * s.out_c + pattern[from].column;
        const std::uint64_t address =
            result_home(launch) + static_cast<std::uint64_t>(element * result_bytes(launch));
        // Rows of a block as wide as the map follow each other: one run.
        if (n == s.out_c && !rows.empty() &&
            rows.back().address + static_cast<std::uint64_t>(rows.back().bytes) == address)
          rows.back().bytes += n * result_bytes(launch);
        else
          rows.push_back({address, n * result_bytes(launch)});
      }
      if (job.result_in_dram && !rows.empty()) {
        block.output_request = static_cast<std::int64_t>(job.outputs.size());
        job.outputs.push_back({transfers_of(rows), static_cast<std::int64_t>(job.blocks.size())});
      }
      job.blocks.push_back(block);
    }
  }
  job.end_tile = at;
}

void NaiveMemory::add_activation_requests(Job& job, const array::LayerLaunch& launch, std::int64_t chunk) {
  const array::LayerShape& s = launch.shape;
  const auto slab_of_chunk = [&](std::int64_t i) {
    return slab_of(s, i * chunk, std::min((i + 1) * chunk, s.m()) - 1);
  };
  // The number of the request that brings them; the latest if there is nothing to bring.
  const auto request = [&](std::int64_t begin, std::int64_t end, std::int64_t block) {
    if (begin != end)
      job.activations.push_back(
          {transfers_of({{launch.activations + static_cast<std::uint64_t>(begin), end - begin}}), block});
    return job.activations.empty() ? kNever : static_cast<std::int64_t>(job.activations.size()) - 1;
  };
  if (job.slabs) {
    for (std::size_t b = 0; b < job.blocks.size(); ++b) {
      const Slab slab = slab_of_chunk(job.blocks[b].chunk);
      job.blocks[b].activation_request = request(slab.begin, slab.end, static_cast<std::int64_t>(b));
    }
    return;
  }
  std::vector<std::int64_t> of_chunk;
  std::int64_t brought = 0;
  for (std::int64_t i = 0; i * chunk < s.m(); ++i) {
    const std::int64_t end = std::max(brought, slab_of_chunk(i).end);
    of_chunk.push_back(request(brought, end, 0));
    brought = end;
  }
  for (Block& block : job.blocks) block.activation_request = of_chunk[static_cast<std::size_t>(block.chunk)];
}

}  // namespace kintsugi::test

#include "tests/support/naive_memory.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>

namespace kintsugi::test {
namespace {

std::int64_t up(std::int64_t a, std::int64_t b) {
  return a / b + (a % b != 0 ? 1 : 0);
}

// ⌈nanoseconds · clock⌉, with both in whole units.
std::int64_t cycles_of(double nanoseconds, std::int64_t clock_khz) {
  const __int128 product = static_cast<__int128>(std::llround(nanoseconds * 1000)) * clock_khz;
  const __int128 unit = 1'000'000'000;  // ps · kHz
  return static_cast<std::int64_t>(product / unit + (product % unit != 0 ? 1 : 0));
}

bool in_buffer(array::DeviceAddress address) {
  return address >= array::kBufferBase;
}

}  // namespace

NaiveMemory::NaiveMemory(const configs::ChipConfig& chip) : chip_(chip), memory_(chip.memory.value()) {
  const std::int64_t clock_khz = std::llround(chip.clock_mhz * 1e3);
  cycle_ticks_ = std::llround(memory_.dram.bandwidth_gb_s * 1e6);  // kB/s
  burst_ticks_ = memory_.dram.burst_bytes * clock_khz;
  latency_ = cycles_of(memory_.dram.latency_ns, clock_khz);
  if (memory_.dram.row_buffer) {
    miss_ticks_ = cycles_of(memory_.dram.row_buffer->miss_ns, clock_khz) * cycle_ticks_;
    open_rows_.assign(static_cast<std::size_t>(memory_.dram.row_buffer->banks), kNever);
  }
}

// ---- Launches

NaiveReport NaiveMemory::launch(const array::LayerLaunch& launch) {
  bool halved = false;
  const std::optional<Cut> how = cut(launch, halved);
  if (!how) {
    NaiveReport refused;
    refused.fits = false;
    return refused;
  }
  Job job;
  job.begin = now_;
  job.slabs = how->slabs;
  add_tiles_and_blocks(job, launch, how->chunk);
  if (job.input_in_dram) add_activation_requests(job, launch, how->chunk);
  if (launch.next && memory_.layer_overlap)
    for (const Tile& tile : weight_tiles(launch.next->shape, launch.next->weights)) {
      tiles_.push_back(tile);
      if (tile.last_of_block) break;
    }

  NaiveReport report = run(job);
  report.slabs = how->slabs;
  report.halved = halved;
  const auto event = [&](array::Lane lane, std::int64_t begin, std::int64_t end, std::size_t index) {
    report.events.push_back({lane, begin - job.begin, end - job.begin, static_cast<std::int64_t>(index), 0});
  };
  for (std::size_t i = job.first_tile; i < job.end_tile; ++i) {
    const Tile& tile = tiles_[i];
    event(array::Lane::array_load, tile.load, tile.load + chip_.array.rows, i - job.first_tile);
    event(array::Lane::array_stream, tile.stream, tile.stream + tile.m, i - job.first_tile);
  }
  for (std::size_t b = 0; b < job.blocks.size(); ++b)
    event(array::Lane::activation_unit, job.blocks[b].drain, job.blocks[b].drained, b);
  for (std::size_t i = job.end_tile; i < tiles_.size(); ++i)
    if (tiles_[i].request.issued > 0) ++report.prefetched;
  return report;
}

NaiveReport NaiveMemory::launch(const array::VectorLaunch& launch) {
  const std::int64_t bytes = launch.rows * launch.channels;
  const bool add = launch.kind == array::VectorLaunch::Kind::add;
  Job job;
  job.vector = true;
  job.begin = now_;
  job.first_tile = tiles_.size();
  while (job.first_tile > 0 && tiles_[job.first_tile - 1].load == kNever) --job.first_tile;
  job.end_tile = job.first_tile;
  Pieces operands;
  if (!in_buffer(launch.a)) operands.push_back({launch.a, bytes});
  if (add && !in_buffer(launch.b)) operands.push_back({launch.b, bytes});
  if (!operands.empty()) {
    job.activations.push_back({transfers_of(operands)});
  }
  job.result_in_dram = !in_buffer(launch.output);
  if (job.result_in_dram) {
    job.outputs.push_back({transfers_of({{launch.output, bytes}})});
  }
  job.blocks.emplace_back();
  job.pass_cycles = std::max(up(bytes, memory_.activation_unit_width),
                             up((add ? 2 : 1) * bytes, memory_.unified_buffer.bytes_per_cycle));
  NaiveReport report = run(job);
  report.events.push_back({array::Lane::activation_unit, job.blocks[0].drain - job.begin,
                           job.blocks[0].drained - job.begin, 0, 0});
  return report;
}

// ---- Cycles

NaiveReport NaiveMemory::run(Job& job) {
  NaiveReport report;
  for (std::int64_t now = job.begin;; ++now) {
    settle(job, now);
    if (is_over(job, now)) {
      for (const InFlight& transfer : in_flight_)
        if (transfer.kind != weights)
          throw std::logic_error("naive memory: over, but something is in flight");
      now_ = now;
      report.cycles = now - job.begin;
      return report;
    }
    while (issue_one(job, now, report)) settle(job, now);
    count(job, now, report.breakdown);
    if (now - job.begin > 50'000'000) throw std::logic_error("naive memory: the job does not end");
  }
}

// Everything that happens in this cycle without a transfer being issued.
void NaiveMemory::settle(Job& job, std::int64_t now) {
  for (bool more = true; more;) {
    more = complete_transfers(job, now);
    more = make_ready(job, now) || more;
    more = start_load(job, now) || more;
    more = start_read(job, now) || more;
    more = start_stream(job, now) || more;
    more = start_drain(job, now) || more;
  }
}

std::size_t& NaiveMemory::head(Job& job, Kind kind) {
  return kind == weights       ? weights_issued_
         : kind == activations ? job.activations_issued
                               : job.outputs_issued;
}

NaiveMemory::Request* NaiveMemory::request(Job& job, Kind kind, std::size_t index) {
  if (kind == weights) return index < tiles_.size() ? &tiles_[index].request : nullptr;
  std::vector<Request>& all = kind == activations ? job.activations : job.outputs;
  return index < all.size() ? &all[index] : nullptr;
}

bool NaiveMemory::complete_transfers(Job& job, std::int64_t now) {
  bool any = false;
  for (std::size_t i = 0; i < in_flight_.size();) {
    const InFlight transfer = in_flight_[i];
    if (transfer.complete > now) {
      ++i;
      continue;
    }
    if (transfer.last) request(job, transfer.kind, transfer.request)->complete = transfer.complete;
    in_flight_.erase(in_flight_.begin() + static_cast<std::ptrdiff_t>(i));
    any = true;
  }
  return any;
}

bool NaiveMemory::is_allowed(Job& job, Kind kind, std::int64_t now) {
  const std::size_t index = head(job, kind);
  // A pass of the activation unit fetches no weights.
  if (kind == weights && job.vector) return false;
  if (kind == weights) {
    const auto room = static_cast<std::size_t>(memory_.weight_fifo_tiles);
    if (index < room) return true;
    const std::int64_t load = tiles_[index - room].load;
    return load != kNever && load + chip_.array.rows <= now;
  }
  if (kind == outputs) return by(job.blocks[static_cast<std::size_t>(job.outputs[index].block)].drained, now);
  const std::int64_t before = job.activations[index].block - 2;
  if (job.vector || !job.slabs || before < 0) return true;
  const Tile& last = tiles_[static_cast<std::size_t>(job.blocks[static_cast<std::size_t>(before)].last_tile)];
  return last.stream != kNever && last.stream + last.m <= now;
}

bool NaiveMemory::make_ready(Job& job, std::int64_t now) {
  bool any = false;
  for (const Kind kind : {weights, activations, outputs}) {
    Request* const next = request(job, kind, head(job, kind));
    if (next == nullptr || next->ready != kNever || !is_allowed(job, kind, now)) continue;
    next->ready = now;
    any = true;
  }
  return any;
}

bool NaiveMemory::issue_one(Job& job, std::int64_t now, NaiveReport& report) {
  if (in_flight_.size() >= static_cast<std::size_t>(memory_.dma.outstanding)) return false;
  Request* chosen = nullptr;
  Kind kind = weights;
  for (const Kind candidate : {weights, activations, outputs}) {
    Request* const next = request(job, candidate, head(job, candidate));
    if (next == nullptr || next->ready == kNever || (candidate == weights && job.vector)) continue;
    if (chosen != nullptr && kind == activations && next->ready == chosen->ready) ++report.ties;
    if (chosen != nullptr && next->ready >= chosen->ready) continue;
    chosen = next;
    kind = candidate;
  }
  if (chosen == nullptr) return false;
  const Pieces& transfer = chosen->transfers[chosen->issued++];
  const bool last = chosen->issued == chosen->transfers.size();
  array::Traffic& traffic = report.traffic;
  std::int64_t& bytes = kind == weights       ? traffic.dram_weight_bytes
                        : kind == activations ? traffic.dram_activation_bytes
                                              : traffic.dram_output_bytes;
  for (const Piece& piece : transfer) bytes += piece.bytes;
  const std::int64_t off_the_bus = put_on_bus(transfer, now, traffic);
  in_flight_.push_back({kind, head(job, kind), last, off_the_bus + latency_});
  if (last) ++head(job, kind);
  return true;
}

// The cycle by which the bus has carried it.
std::int64_t NaiveMemory::put_on_bus(const Pieces& transfer, std::int64_t now, array::Traffic& traffic) {
  bus_free_ = std::max(bus_free_, static_cast<__int128>(now) * cycle_ticks_);
  const auto burst = static_cast<std::uint64_t>(memory_.dram.burst_bytes);
  for (const Piece& piece : transfer) {
    const std::uint64_t end = piece.address + static_cast<std::uint64_t>(piece.bytes);
    for (std::uint64_t at = piece.address / burst * burst; at < end; at += burst) {
      if (memory_.dram.row_buffer) {
        const auto row = static_cast<std::int64_t>(at) / memory_.dram.row_buffer->row_bytes;
        std::int64_t& open = open_rows_[static_cast<std::size_t>(row) % open_rows_.size()];
        if (open == row) {
          ++traffic.row_hits;
        } else {
          ++traffic.row_misses;
          bus_free_ += miss_ticks_;
          open = row;
        }
      }
      bus_free_ += burst_ticks_;
      traffic.dram_bus_bytes += memory_.dram.burst_bytes;
    }
  }
  return static_cast<std::int64_t>((bus_free_ + cycle_ticks_ - 1) / cycle_ticks_);
}

// ---- The array

std::int64_t NaiveMemory::out(const Tile& tile) const {
  return tile.stream + tile.m + chip_.array.rows + chip_.array.cols - 2;
}

std::int64_t NaiveMemory::read_cycles(const Tile& tile) const {
  return up(tile.m * tile.k, memory_.unified_buffer.bytes_per_cycle);
}

bool NaiveMemory::load_could_begin(const Job& job, std::size_t tile, std::int64_t now) const {
  if (tile == job.first_tile) return true;
  const Tile& before = tiles_[tile - 1];
  if (before.load == kNever || before.load + chip_.array.rows > now) return false;
  if (before.stream == kNever) return false;
  return chip_.array.weight_double_buffer || out(before) <= now;
}

bool NaiveMemory::start_load(Job& job, std::int64_t now) {
  for (std::size_t i = job.first_tile; i < job.end_tile; ++i) {
    if (tiles_[i].load != kNever) continue;
    if (!load_could_begin(job, i, now) || !by(tiles_[i].request.complete, now)) return false;
    tiles_[i].load = now;
    return true;
  }
  return false;
}

bool NaiveMemory::start_read(Job& job, std::int64_t now) {
  for (std::size_t i = job.first_tile; i < job.end_tile; ++i) {
    Tile& tile = tiles_[i];
    if (tile.read != kNever) continue;
    if (i > job.first_tile) {
      const Tile& before = tiles_[i - 1];
      if (before.read + read_cycles(before) > now || !by(before.stream, now)) return false;
    }
    const std::int64_t needed = job.blocks[static_cast<std::size_t>(tile.block)].activation_request;
    if (needed != kNever && !by(job.activations[static_cast<std::size_t>(needed)].complete, now))
      return false;
    tile.read = now;
    return true;
  }
  return false;
}

bool NaiveMemory::activations_allow(const Tile& tile, std::int64_t now) const {
  return tile.read != kNever && tile.read + std::max<std::int64_t>(0, read_cycles(tile) - tile.m) <= now;
}

bool NaiveMemory::accumulators_allow(const Job& job, const Tile& tile, std::int64_t now) const {
  const std::int64_t before = tile.block - (memory_.accumulators.double_buffer ? 2 : 1);
  return !tile.first_of_block || before < 0 || by(job.blocks[static_cast<std::size_t>(before)].drained, now);
}

bool NaiveMemory::start_stream(Job& job, std::int64_t now) {
  for (std::size_t i = job.first_tile; i < job.end_tile; ++i) {
    Tile& tile = tiles_[i];
    if (tile.stream != kNever) continue;
    if (i > job.first_tile && tiles_[i - 1].stream + tiles_[i - 1].m > now) return false;
    if (tile.load == kNever || tile.load + chip_.array.rows > now) return false;
    if (!activations_allow(tile, now) || !accumulators_allow(job, tile, now)) return false;
    tile.stream = now;
    return true;
  }
  return false;
}

bool NaiveMemory::start_drain(Job& job, std::int64_t now) {
  for (std::size_t b = 0; b < job.blocks.size(); ++b) {
    Block& block = job.blocks[b];
    if (block.drain != kNever) continue;
    if (job.vector) {
      for (const Request& operand : job.activations)
        if (!by(operand.complete, now)) return false;
      block.drain = now;
      block.drained = now + job.pass_cycles;
      return true;
    }
    const Tile& last = tiles_[static_cast<std::size_t>(block.last_tile)];
    if (last.stream == kNever || out(last) > now) return false;
    if (b > 0 && !by(job.blocks[b - 1].drained, now)) return false;
    const std::int64_t output = b >= 2 ? job.blocks[b - 2].output_request : kNever;
    if (output != kNever && !by(job.outputs[static_cast<std::size_t>(output)].complete, now)) return false;
    block.drain = now;
    block.drained =
        now + std::max({up(block.elements, memory_.activation_unit_width),
                        up(block.bytes_written, memory_.unified_buffer.bytes_per_cycle), std::int64_t{1}});
    return true;
  }
  return false;
}

bool NaiveMemory::is_over(const Job& job, std::int64_t now) const {
  if (!job.vector) {
    const Tile& last = tiles_[job.end_tile - 1];
    if (last.stream == kNever || out(last) > now) return false;
  }
  for (const Block& block : job.blocks)
    if (!by(block.drained, now)) return false;
  for (const Request& output : job.outputs)
    if (!by(output.complete, now)) return false;
  return true;
}

// The table "Where cycles go", from the top.
void NaiveMemory::count(const Job& job, std::int64_t now, array::CycleBreakdown& breakdown) const {
  if (job.vector) {
    const Block& pass = job.blocks[0];
    ++(pass.drain == kNever ? breakdown.stall_activations
       : now < pass.drained ? breakdown.active
                            : breakdown.stall_output);
    return;
  }
  std::size_t loaded = job.first_tile, streamed = job.first_tile;  // the first that is not
  for (std::size_t i = job.first_tile; i < job.end_tile; ++i) {
    const Tile& tile = tiles_[i];
    if (tile.stream != kNever && now < tile.stream + tile.m) {
      ++breakdown.active;
      return;
    }
    if (tile.load != kNever) loaded = i + 1;
    if (tile.stream != kNever) streamed = i + 1;
  }
  for (std::size_t i = job.first_tile; i < loaded; ++i)
    if (now < tiles_[i].load + chip_.array.rows) {
      ++breakdown.weight_shift;
      return;
    }
  const bool next_to_load = loaded < job.end_tile;
  const bool on_their_way = streamed > job.first_tile && now < out(tiles_[streamed - 1]);
  if (next_to_load && load_could_begin(job, loaded, now)) {
    ++breakdown.stall_weights;
  } else if (on_their_way && (streamed == job.end_tile ||
                              (!chip_.array.weight_double_buffer && next_to_load && loaded == streamed))) {
    ++breakdown.pipeline;
  } else if (streamed < loaded && !activations_allow(tiles_[streamed], now)) {
    ++breakdown.stall_activations;
  } else if (streamed < loaded && !accumulators_allow(job, tiles_[streamed], now)) {
    ++breakdown.stall_accumulators;
  } else if (streamed == job.end_tile) {
    ++breakdown.stall_output;
  } else {
    throw std::logic_error("naive memory: a cycle that is nothing");
  }
}

}  // namespace kintsugi::test

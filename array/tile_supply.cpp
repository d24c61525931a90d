#include "array/tile_supply.h"

#include <algorithm>
#include <utility>

#include "common/arithmetic.h"

namespace kintsugi::array {

TileSupply::TileSupply(const configs::MemoryConfig& memory)
    : memory_(memory), slot_free_(static_cast<std::size_t>(memory.weight_fifo_tiles), 0) {}

void TileSupply::begin(const LayerPlan& plan, const LayerPlan* next, std::int64_t cycle) {
  Channel& weights = channel(Kind::weights);
  const bool ahead = next_ != nullptr && next_->same_weights(plan);
  weights_base_ += plan_ != nullptr ? plan_->tiles() : 0;
  if (!ahead && (weights.issued > weights_base_ || weights.cutter)) {
    // Fetched for a layer that does not come: the FIFO is emptied. What is on its way arrives, and is
    // dropped.
    if (weights.cutter) {
      weights.cutter.reset();
      weights.flights.back().issued = true;
      ++weights.issued;
    }
    weights_base_ = loads_ended_ = weights.issued;
    std::fill(slot_free_.begin(), slot_free_.end(), cycle);
  }
  if (!ahead) weights.since = cycle;
  plan_ = &plan;
  next_ = memory_.layer_overlap ? next : nullptr;
  start_ = cycle;
  for (const Kind kind : {Kind::activations, Kind::outputs}) {
    channel(kind) = {};
    channel(kind).since = cycle;
  }
  fetched_.clear();
  block_fed_.clear();
  port_free_ = stream_begin_ = cycle;
  blocks_out_ = blocks_drained_ = 0;
  draining_ = false;
  writes_.clear();
  write_of_block_.clear();
  issued_ = {};
}

bool TileSupply::finished() const {
  return blocks_drained_ == plan_->blocks() && channel(Kind::outputs).completed == std::ssize(writes_);
}

// ---- For the array ----

bool TileSupply::weights_present(std::int64_t tile) const {
  return channel(Kind::weights).completed > weights_base_ + tile;
}

std::optional<std::int64_t> TileSupply::activations_from(std::int64_t tile) const {
  const std::int64_t block = plan_->block_of(tile), needed = plan_->activations_needed(block);
  if (channel(Kind::activations).completed < needed) return std::nullopt;
  const std::int64_t m = plan_->m_of(block).count;
  const std::int64_t read =
      common::divide_up(m * plan_->k_of(tile).count, memory_.unified_buffer.bytes_per_cycle);
  const std::int64_t there = needed > 0 ? fetched_[static_cast<std::size_t>(needed - 1)] : start_;
  return std::max({port_free_, stream_begin_, there}) + std::max<std::int64_t>(0, read - m);
}

bool TileSupply::accumulators_free(std::int64_t tile) const {
  const std::int64_t ahead = memory_.accumulators.double_buffer ? 2 : 1;
  return !plan_->first_of_block(tile) || blocks_drained_ > plan_->block_of(tile) - ahead;
}

TileGate::Wait TileSupply::stream_wait(std::int64_t tile, std::int64_t cycle) const {
  const std::optional<std::int64_t> from = activations_from(tile);
  if (!from || cycle < *from) return TileGate::Wait::activations;
  return accumulators_free(tile) ? TileGate::Wait::none : TileGate::Wait::accumulators;
}

void TileSupply::load_begun(std::int64_t, std::int64_t cycle) {
  load_begin_ = cycle;
}

void TileSupply::load_ended(std::int64_t tile, std::int64_t cycle) {
  slot_free_[static_cast<std::size_t>((weights_base_ + tile) % std::ssize(slot_free_))] = cycle;
  ++loads_ended_;
  event(Lane::array_load, load_begin_, cycle, tile);
}

void TileSupply::stream_begun(std::int64_t tile, std::int64_t cycle) {
  const std::int64_t m = plan_->m_of(plan_->block_of(tile)).count;
  const std::int64_t read =
      common::divide_up(m * plan_->k_of(tile).count, memory_.unified_buffer.bytes_per_cycle);
  // Reading began so long before activations_from().
  port_free_ = activations_from(tile).value() - std::max<std::int64_t>(0, read - m) + read;
  stream_begin_ = cycle;
}

void TileSupply::stream_fed(std::int64_t tile, std::int64_t cycle) {
  if (plan_->last_of_block(tile)) block_fed_.push_back(cycle);
  event(Lane::array_stream, stream_begin_, cycle, tile);
}

void TileSupply::stream_out(std::int64_t tile) {
  if (plan_->last_of_block(tile)) ++blocks_out_;
}

// ---- For the activation unit ----

std::optional<TileSupply::Drain> TileSupply::settle(std::int64_t cycle) {
  const std::int64_t block = blocks_drained_;
  if (draining_ || block == blocks_out_) return std::nullopt;
  if (plan_->writes_dram() && block >= 2) {
    const std::int64_t write = write_of_block_[static_cast<std::size_t>(block - 2)];
    if (write >= channel(Kind::outputs).completed) return std::nullopt;
  }
  draining_ = true;
  drain_begin_ = cycle;
  return Drain{
      block, std::max({common::divide_up(plan_->elements(block), memory_.activation_unit_width),
                       common::divide_up(plan_->output_bytes(block), memory_.unified_buffer.bytes_per_cycle),
                       std::int64_t{1}})};
}

void TileSupply::drained(std::int64_t block, std::int64_t cycle) {
  draining_ = false;
  ++blocks_drained_;
  event(Lane::activation_unit, drain_begin_, cycle, block);
  if (!plan_->writes_dram()) return;
  const bool writes = plan_->output_bytes(block) > 0;
  write_of_block_.push_back(writes ? std::ssize(writes_) : -1);
  if (writes) writes_.push_back({block, cycle});
}

// ---- For the DMA engine ----

std::optional<std::int64_t> TileSupply::weights_ready() const {
  const Channel& weights = channel(Kind::weights);
  const std::int64_t ahead = weights.issued - weights_base_ - plan_->tiles();
  if (ahead >= 0 && (next_ == nullptr || ahead >= next_->k_tiles())) return std::nullopt;
  if (weights.issued >= loads_ended_ + std::ssize(slot_free_)) return std::nullopt;
  return std::max(weights.since,
                  slot_free_[static_cast<std::size_t>(weights.issued % std::ssize(slot_free_))]);
}

std::optional<std::int64_t> TileSupply::activations_ready() const {
  const Channel& activations = channel(Kind::activations);
  if (activations.issued == plan_->activation_requests()) return std::nullopt;
  if (!plan_->slabs()) return activations.since;
  const std::int64_t before = plan_->block_of_request(activations.issued) - 2;
  if (before < 0) return activations.since;
  if (before >= std::ssize(block_fed_)) return std::nullopt;
  return std::max(activations.since, block_fed_[static_cast<std::size_t>(before)]);
}

std::optional<std::int64_t> TileSupply::outputs_ready() const {
  const Channel& outputs = channel(Kind::outputs);
  if (outputs.issued == std::ssize(writes_)) return std::nullopt;
  return std::max(outputs.since, writes_[static_cast<std::size_t>(outputs.issued)].cycle);
}

std::optional<std::int64_t> TileSupply::ready(Kind kind) const {
  switch (kind) {
    case Kind::weights:
      return weights_ready();
    case Kind::activations:
      return activations_ready();
    case Kind::outputs:
      return outputs_ready();
  }
  return std::nullopt;
}

std::vector<memory::Run> TileSupply::runs(Kind kind, std::int64_t request) const {
  switch (kind) {
    case Kind::weights: {
      const std::int64_t tile = request - weights_base_, slot = request % std::ssize(slot_free_);
      return tile < plan_->tiles() ? plan_->weights(tile, slot) : next_->weights(tile - plan_->tiles(), slot);
    }
    case Kind::activations:
      return plan_->activations(request);
    case Kind::outputs:
      return plan_->outputs(writes_[static_cast<std::size_t>(request)].block);
  }
  return {};
}

std::optional<memory::Transfer> TileSupply::next(std::int64_t cycle) {
  std::optional<Kind> chosen;
  std::int64_t earliest = 0;
  for (const Kind kind : {Kind::weights, Kind::activations, Kind::outputs}) {
    const std::optional<std::int64_t> since = ready(kind);
    if (!since || *since > cycle || (chosen && *since >= earliest)) continue;
    chosen = kind;
    earliest = *since;
  }
  if (!chosen) return std::nullopt;

  Channel& from = channel(*chosen);
  memory::Transfer transfer;
  transfer.kind = *chosen;
  transfer.request = from.issued;
  if (!from.cutter) {
    from.cutter.emplace(runs(*chosen, from.issued), memory_.dma.transfer_bytes);
    from.flights.push_back({0, cycle, 0, false});
  }
  from.cutter->next(transfer);
  Channel::Flight& flight = from.flights.back();
  ++flight.transfers;
  flight.bytes += transfer.bytes;
  if (from.cutter->empty()) {
    from.cutter.reset();
    flight.issued = true;
    from.since = cycle;
    ++from.issued;
  }
  switch (*chosen) {
    case Kind::weights:
      issued_.dram_weight_bytes += transfer.bytes;
      break;
    case Kind::activations:
      issued_.dram_activation_bytes += transfer.bytes;
      break;
    case Kind::outputs:
      issued_.dram_output_bytes += transfer.bytes;
      break;
  }
  return transfer;
}

void TileSupply::complete(const memory::Transfer& transfer, std::int64_t cycle) {
  Channel& from = channel(transfer.kind);
  --from.flights[static_cast<std::size_t>(transfer.request - from.completed)].transfers;
  while (!from.flights.empty() && from.flights.front().issued && from.flights.front().transfers == 0) {
    request_complete(transfer.kind, from.completed, from.flights.front(), cycle);
    from.flights.pop_front();
    ++from.completed;
  }
}

void TileSupply::request_complete(Kind kind, std::int64_t request, const Channel::Flight& flight,
                                  std::int64_t cycle) {
  switch (kind) {
    case Kind::weights:
      event(Lane::dma_weights, flight.begin, cycle, request - weights_base_, flight.bytes);
      return;
    case Kind::activations:
      fetched_.push_back(cycle);
      event(Lane::dma_activations, flight.begin, cycle, request, flight.bytes);
      return;
    case Kind::outputs:
      event(Lane::dma_outputs, flight.begin, cycle, writes_[static_cast<std::size_t>(request)].block,
            flight.bytes);
      return;
  }
}

void TileSupply::event(Lane lane, std::int64_t begin, std::int64_t end, std::int64_t index,
                       std::int64_t bytes) const {
  if (sink_) sink_({lane, begin - start_, end - start_, index, bytes});
}

}  // namespace kintsugi::array

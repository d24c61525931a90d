#include "array/supply_unit_sc.h"

#include <utility>

namespace kintsugi::array {

SupplyUnit::SupplyUnit(sc_core::sc_module_name name, const configs::ChipConfig& chip, std::uint64_t cycle)
    : sc_core::sc_module(name),
      dma("dma", chip.memory->dma.outstanding, cycle),
      cycle_(cycle),
      supply_(*chip.memory) {
  dma.attach(this, [this] { SC_REPORT_ERROR("/kintsugi/memory/transfer", dma.failure()->c_str()); });
  SC_THREAD(drain_blocks);
}

std::int64_t SupplyUnit::now() const {
  return static_cast<std::int64_t>(sc_core::sc_time_stamp().value() / cycle_);
}

sc_core::sc_time SupplyUnit::until(std::int64_t cycle, int eighths) const {
  const std::uint64_t at =
      static_cast<std::uint64_t>(cycle) * cycle_ + cycle_ * static_cast<unsigned>(eighths) / 8;
  return sc_core::sc_time::from_value(at - sc_core::sc_time_stamp().value());
}

void SupplyUnit::begin(const LayerPlan& plan, const LayerPlan* next,
                       std::function<void(std::int64_t block)> deliver) {
  deliver_ = std::move(deliver);
  supply_.begin(plan, next, now());
  active_ = true;
  dma.poke();
}

CycleBreakdown SupplyUnit::run(ClosedFormArray& array) {
  array.begin(*supply_.plan(), supply_, now());
  while (active_) {
    const std::int64_t cycle = now();
    // What this thread is told of during the wait is there when it decides; only the end must not be slept
    // over.
    wait(until(cycle, 3), finished_);
    if (!active_) break;
    array.decide(cycle);
    if (const std::optional<std::int64_t> next = array.next_cycle(cycle))
      wait(until(*next), changed_);
    else
      wait(changed_);
    array.finish(now());
    changed();
  }
  array.decide(now());
  return array.counts();
}

void SupplyUnit::wait_finished() {
  while (active_) wait(finished_);
}

CycleBreakdown SupplyUnit::run(VectorPass& pass, const std::function<void()>& deliver) {
  CycleBreakdown counts;
  const std::int64_t begin = now();
  pass_ = &pass;
  dma.poke();
  while (!pass.fetched()) wait(changed_);
  counts.stall_activations = now() - begin;
  counts.active = pass.pass_cycles();
  const std::int64_t end = now() + pass.pass_cycles();
  wait(until(end));
  if (sink_) sink_({Lane::activation_unit, end - counts.active - begin, end - begin, 0, 0});
  deliver();
  pass.passed();
  dma.poke();
  while (!pass.written()) wait(changed_);
  counts.stall_output = now() - end;
  pass_ = nullptr;
  return counts;
}

void SupplyUnit::observe(TimelineSink sink) {
  sink_ = sink;
  supply_.observe(std::move(sink));
}

// ---- The clocked arrays ----

bool SupplyUnit::may_load(std::int64_t tile) {
  return supply_.weights_present(tile);
}

TileGate::Wait SupplyUnit::may_stream(std::int64_t tile) {
  return supply_.stream_wait(tile, now());
}

void SupplyUnit::load_begun(std::int64_t tile) {
  supply_.load_begun(tile, now());
}

void SupplyUnit::load_ended(std::int64_t tile) {
  supply_.load_ended(tile, now() + 1);
  dma.poke();
}

void SupplyUnit::stream_begun(std::int64_t tile) {
  supply_.stream_begun(tile, now());
}

void SupplyUnit::stream_fed(std::int64_t tile) {
  supply_.stream_fed(tile, now() + 1);
  dma.poke();
}

void SupplyUnit::stream_out(std::int64_t tile) {
  supply_.stream_out(tile);
  settle_.notify(until(now() + 1, 2));
}

// ---- The DMA engine ----

std::optional<memory::Transfer> SupplyUnit::next(std::int64_t cycle) {
  if (pass_ != nullptr) return pass_->next(cycle);
  // Between layers nothing new is begun.
  return active_ ? supply_.next(cycle) : std::nullopt;
}

void SupplyUnit::complete(const memory::Transfer& transfer, std::int64_t cycle) {
  if (pass_ != nullptr)
    pass_->complete(transfer, cycle);
  else
    supply_.complete(transfer, cycle);
  changed();
}

void SupplyUnit::changed() {
  settle_.notify(until(now(), 2));
  dma.poke();
  changed_.notify(sc_core::SC_ZERO_TIME);
  if (active_ && supply_.finished()) {
    active_ = false;
    finished_.notify(sc_core::SC_ZERO_TIME);
  }
}

// ---- The activation unit ----

void SupplyUnit::drain_blocks() {
  for (;;) {
    wait(settle_.default_event());
    while (active_) {
      const std::optional<TileSupply::Drain> drain = supply_.settle(now());
      if (!drain) break;
      const std::int64_t end = now() + drain->cycles;
      wait(until(end));
      deliver_(drain->block);
      supply_.drained(drain->block, end);
      changed();
      wait(until(end, 2));
    }
  }
}

}  // namespace kintsugi::array

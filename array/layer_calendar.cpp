#include "array/layer_calendar.h"

#include <algorithm>
#include <optional>
#include <queue>
#include <stdexcept>
#include <utility>

#include "array/closed_form_array.h"
#include "array/schedule.h"
#include "array/tile_supply.h"
#include "array/vector_pass.h"
#include "memory/dram_timing.h"

namespace kintsugi::array {

// The chip's time goes on from launch to launch.
struct LayerCalendar::Machine {
  configs::MemoryConfig memory;
  memory::DramTiming dram;
  TileSupply supply;
  ClosedFormArray array;
  TimelineSink sink;
  std::unique_ptr<LayerPlan> plan, next;  // of the last layer; the supply holds on to them
  std::int64_t now = 0;

  struct Flight {
    std::int64_t cycle = 0, order = 0;
    memory::Transfer transfer;
    bool operator>(const Flight& other) const {
      return std::pair(cycle, order) > std::pair(other.cycle, other.order);
    }
  };
  std::priority_queue<Flight, std::vector<Flight>, std::greater<>> flights;
  std::int64_t issued = 0;

  explicit Machine(const configs::ChipConfig& chip)
      : memory(*chip.memory), dram(memory.dram, chip.clock_mhz), supply(memory), array(chip.array) {}

  void complete_transfers(memory::TransferSource& source) {
    while (!flights.empty() && flights.top().cycle == now) {
      const memory::Transfer transfer = flights.top().transfer;
      flights.pop();
      source.complete(transfer, now);
    }
  }

  void issue_transfers(memory::TransferSource& source) {
    while (std::ssize(flights) < memory.dma.outstanding) {
      std::optional<memory::Transfer> transfer = source.next(now);
      if (!transfer) return;
      std::int64_t complete = now;
      for (const memory::Run& run : transfer->runs) complete = dram.serve(now, run.dram, run.bytes);
      flights.push({complete, issued++, *std::move(transfer)});
    }
  }
};

namespace {

// What the DRAM's counters gained.
class DramCount {
 public:
  explicit DramCount(const memory::DramTiming& dram)
      : dram_(dram), bytes_(dram.bus_bytes()), hits_(dram.row_hits()), misses_(dram.row_misses()) {}
  void add_to(Traffic& traffic) const {
    traffic.dram_bus_bytes += dram_.bus_bytes() - bytes_;
    traffic.row_hits += dram_.row_hits() - hits_;
    traffic.row_misses += dram_.row_misses() - misses_;
  }

 private:
  const memory::DramTiming& dram_;
  std::int64_t bytes_, hits_, misses_;
};

void put(std::vector<std::int64_t>& key, const LayerShape& shape) {
  key.insert(key.end(), {shape.batch, shape.in_h, shape.in_w, shape.in_c, shape.kernel_h, shape.kernel_w,
                         shape.stride, shape.padding, shape.groups, shape.out_c});
}

// All that a launch's cost depends on.
std::vector<std::int64_t> key_of(const LayerLaunch& launch) {
  std::vector<std::int64_t> key;
  put(key, launch.shape);
  const auto number = [&](std::uint64_t value) { key.push_back(static_cast<std::int64_t>(value)); };
  for (const std::uint64_t value :
       {launch.activations, launch.weights, launch.output, launch.buffer_offset, launch.buffer_bytes})
    number(value);
  key.push_back(launch.requantization ? 1 : 0);
  if (launch.pool) {
    const MaxPool& window = launch.pool->window;
    key.insert(key.end(), {window.kernel, window.stride, window.padding, window.out_h, window.out_w});
    number(launch.pool->result);
  }
  return key;
}

}  // namespace

LayerCalendar::LayerCalendar(const configs::ChipConfig& chip)
    : chip_(chip),
      machine_(chip.memory ? std::make_unique<Machine>(chip) : nullptr),
      repeats_(!chip.memory || (!chip.memory->dram.row_buffer && !chip.memory->layer_overlap)) {}

LayerCalendar::~LayerCalendar() = default;

void LayerCalendar::observe(TimelineSink sink) {
  if (!machine_) return;
  repeats_ = false;
  machine_->sink = sink;
  machine_->supply.observe(std::move(sink));
}

LaunchReport LayerCalendar::run(const LayerLaunch& launch) {
  if (!repeats_) return simulate(launch);
  const std::vector<std::int64_t> key = key_of(launch);
  const auto known = known_.find(key);
  if (known != known_.end()) return known->second;
  return known_[key] = machine_ ? simulate(launch) : ideal(launch);
}

LaunchReport LayerCalendar::ideal(const LayerLaunch& launch) const {
  const LayerPlan plan(launch, chip_);
  LaunchReport report;
  report.breakdown = ideal_breakdown(plan.shape(), plan.tiling(), chip_.array.rows, chip_.array.cols,
                                     chip_.array.weight_double_buffer);
  report.cycles = report.breakdown.total();
  report.traffic = plan.traffic_on_chip(chip_.array);
  return report;
}

LaunchReport LayerCalendar::simulate(const LayerLaunch& launch) {
  Machine& m = *machine_;
  auto plan = std::make_unique<LayerPlan>(launch, chip_);
  auto next = launch.next ? std::make_unique<LayerPlan>(*launch.next, chip_) : nullptr;
  const std::int64_t start = m.now;
  const DramCount dram(m.dram);
  m.supply.begin(*plan, next.get(), start);
  m.plan = std::move(plan);
  m.next = std::move(next);
  m.array.begin(*m.plan, m.supply, start);

  std::int64_t block = 0, drained = -1;  // the block being drained, and the cycle; −1: none
  for (;;) {
    m.array.finish(m.now);
    m.complete_transfers(m.supply);
    if (drained == m.now) {
      drained = -1;
      m.supply.drained(block, m.now);
    }
    if (const auto drain = m.supply.settle(m.now)) {
      block = drain->block;
      drained = m.now + drain->cycles;
    }
    m.array.decide(m.now);
    if (m.supply.finished()) break;
    m.issue_transfers(m.supply);

    std::optional<std::int64_t> then = m.array.next_cycle(m.now);
    const auto consider = [&](std::int64_t cycle) {
      if (!then || cycle < *then) then = cycle;
    };
    if (drained >= 0) consider(drained);
    if (!m.flights.empty()) consider(m.flights.top().cycle);
    if (!then) throw std::logic_error("LayerCalendar: nothing is left to happen, but the layer is not done");
    m.now = *then;
  }

  LaunchReport report;
  report.cycles = m.now - start;
  report.breakdown = m.array.counts();
  report.traffic = m.plan->traffic_on_chip(chip_.array);
  report.traffic += m.supply.issued();
  dram.add_to(report.traffic);
  return report;
}

LaunchReport LayerCalendar::run(const VectorLaunch& launch) {
  LaunchReport report;
  if (!machine_) return report;
  Machine& m = *machine_;
  const std::int64_t start = m.now;
  const DramCount dram(m.dram);
  VectorPass pass(launch, chip_, m.supply);
  const auto move_until = [&](const auto& done) {
    for (;;) {
      m.complete_transfers(pass);
      m.issue_transfers(pass);
      if (done()) return;
      m.now = m.flights.top().cycle;
    }
  };
  move_until([&] { return pass.fetched(); });
  report.breakdown.stall_activations = m.now - start;
  report.breakdown.active = pass.pass_cycles();
  const std::int64_t pass_begin = m.now, pass_end = m.now + pass.pass_cycles();
  while (!m.flights.empty() && m.flights.top().cycle <= pass_end) {  // weights fetched ahead
    m.now = m.flights.top().cycle;
    m.complete_transfers(pass);
  }
  m.now = pass_end;
  if (m.sink) m.sink({Lane::activation_unit, pass_begin - start, pass_end - start, 0, 0});
  pass.passed();
  move_until([&] { return pass.written(); });
  report.breakdown.stall_output = m.now - pass_end;
  report.cycles = m.now - start;
  report.traffic = pass.traffic();
  dram.add_to(report.traffic);
  return report;
}

}  // namespace kintsugi::array

#include "array/array_target_sc.h"

#include <algorithm>
#include <optional>
#include <span>
#include <stdexcept>
#include <utility>

#include "array/activation_unit.h"
#include "array/block_drain.h"
#include "array/cycle_array_sc.h"
#include "array/pe_array_sc.h"
#include "array/schedule.h"
#include "common/diagnostics.h"
#include "memory/origin.h"

namespace kintsugi::array {
namespace {

// The functional engine calls a matrix library from this thread, which wants more stack than SystemC gives.
constexpr std::size_t kStackBytes = std::size_t{8} << 20;

tlm::tlm_response_status to_response(AccessResult result) {
  switch (result) {
    case AccessResult::ok:
      return tlm::TLM_OK_RESPONSE;
    case AccessResult::bad_address:
      return tlm::TLM_ADDRESS_ERROR_RESPONSE;
    case AccessResult::bad_length:
      return tlm::TLM_BURST_ERROR_RESPONSE;
    case AccessResult::bad_command:
      return tlm::TLM_COMMAND_ERROR_RESPONSE;
    case AccessResult::refused:
      return tlm::TLM_GENERIC_ERROR_RESPONSE;
  }
  return tlm::TLM_GENERIC_ERROR_RESPONSE;
}

// Continues the sentence of memory::refuse().
const char* reason_of(AccessResult result) {
  switch (result) {
    case AccessResult::ok:
      break;
    case AccessResult::bad_address:
      return "reaches no register and no window; allowed are addresses of the register map, aligned";
    case AccessResult::bad_length:
      return "has a wrong length; allowed are 8 and 4 bytes in registers, whole words of 4 in windows";
    case AccessResult::bad_command:
      return "goes the wrong way; allowed are reads of read-only and writes of write-only registers";
    case AccessResult::refused:
      return "comes while a job runs, or its value is not one of the register's";
  }
  return "";
}

// What a DRAM's counters gain from its construction on.
class TrafficMeter {
 public:
  explicit TrafficMeter(const memory::MemoryTarget* dram) : dram_(dram) {
    if (dram_ != nullptr) before_ = read();
  }
  void add_to(Traffic& traffic) const {
    if (dram_ == nullptr) return;
    const Counters now = read();
    traffic.dram_bus_bytes += now.bytes - before_.bytes;
    traffic.row_hits += now.hits - before_.hits;
    traffic.row_misses += now.misses - before_.misses;
  }

 private:
  struct Counters {
    std::int64_t bytes = 0, hits = 0, misses = 0;
  };
  Counters read() const { return {dram_->bus_bytes(), dram_->row_hits(), dram_->row_misses()}; }

  const memory::MemoryTarget* dram_;
  Counters before_;
};

}  // namespace

struct ArrayTarget::LayerWork {
  LayerLaunch launch;
  const LayerPlan& plan;
  std::vector<Requantization> table;
  BlockDrain drain;
  std::vector<std::int32_t> results;  // M×out_c
  LayerJob job;
  std::unique_ptr<TimedJob> timed;  // null: no timing errors

  LayerWork(const LayerLaunch& asked, const LayerPlan& planned, std::vector<Requantization> requantization)
      : launch(asked),
        plan(planned),
        table(std::move(requantization)),
        drain(plan, launch, table),
        results(static_cast<std::size_t>(launch.shape.outputs())) {
    job.shape = launch.shape;
    job.accumulators = results.data();
  }
};

ArrayTarget::ArrayTarget(sc_core::sc_module_name name, const configs::ChipConfig& chip,
                         configs::Fidelity fidelity, common::ThreadPool* pool)
    : sc_core::sc_module(name),
      chip_(chip),
      file_(chip.array),
      cycle_(cycle_femtoseconds(chip.clock_mhz)),
      closed_form_(chip.array) {
  switch (fidelity) {
    case configs::Fidelity::functional:
      engine_ = std::make_unique<FunctionalEngine>(chip.array, chip.convolution, pool);
      break;
    case configs::Fidelity::cycle:
      clocked_ = std::make_unique<CycleArray>("cycle_array", chip.array);
      break;
    case configs::Fidelity::pe:
      clocked_ = std::make_unique<PeArray>("pe_array", chip.array);
      break;
  }
  if (clocked_) {
    clock_ = std::make_unique<GatedClock>("gated_clock", cycle_);
    clock_->clock(clock_line_);
    clocked_->clock(clock_line_);
  }
  if (chip.memory) supply_ = std::make_unique<SupplyUnit>("supply", chip, cycle_);

  registers.register_b_transport(this, &ArrayTarget::b_transport);
  registers.register_transport_dbg(this, &ArrayTarget::transport_dbg);
  interrupt.initialize(false);
  SC_THREAD(run_jobs);
  set_stack_size(kStackBytes);
  SC_METHOD(drive_interrupt);
  sensitive << interrupt_changed_;
  dont_initialize();
}

ArrayTarget::~ArrayTarget() = default;

void ArrayTarget::b_transport(tlm::tlm_generic_payload& transaction, sc_core::sc_time&) {
  const unsigned int length = transaction.get_data_length();
  if (transaction.get_byte_enable_ptr() != nullptr) {
    memory::refuse(transaction, tlm::TLM_BYTE_ENABLE_ERROR_RESPONSE, name(),
                   "has byte enables; allowed are accesses without");
    return;
  }
  if (transaction.get_streaming_width() < length) {
    memory::refuse(transaction, tlm::TLM_BURST_ERROR_RESPONSE, name(),
                   "has a streaming width below its length; allowed is the length and more");
    return;
  }
  const std::span<std::byte> data(reinterpret_cast<std::byte*>(transaction.get_data_ptr()), length);
  AccessResult result = AccessResult::ok;
  if (transaction.is_read()) {
    result = file_.read(transaction.get_address(), data);
  } else if (transaction.is_write()) {
    result = file_.write(transaction.get_address(), data);
    obey(file_.take_command());
  }
  if (result == AccessResult::ok) {
    transaction.set_response_status(tlm::TLM_OK_RESPONSE);
  } else {
    memory::refuse(transaction, to_response(result), name(), reason_of(result));
  }
}

unsigned int ArrayTarget::transport_dbg(tlm::tlm_generic_payload& transaction) {
  // Looking is free of side effects; changing a job or the faults behind the registers' back is not offered.
  if (!transaction.is_read()) return 0;
  const std::span<std::byte> data(reinterpret_cast<std::byte*>(transaction.get_data_ptr()),
                                  transaction.get_data_length());
  return file_.read(transaction.get_address(), data) == AccessResult::ok ? transaction.get_data_length() : 0;
}

void ArrayTarget::obey(std::uint32_t command) {
  switch (command) {
    case kStart:
    case kStartVector:
      starts_pass_ = command == kStartVector;
      file_.begin_job();
      start_.notify(sc_core::SC_ZERO_TIME);
      break;
    case kAcknowledge:
      file_.acknowledge();
      interrupt_level_ = false;
      interrupt_changed_.notify(sc_core::SC_ZERO_TIME);
      break;
    case kClearFaults:
      file_.clear_faults();
      break;
    case kLoadFaults:
      load_faults();
      break;
    default:
      break;
  }
}

void ArrayTarget::load_faults() {
  if (engine_) engine_->load_faults(file_.faults());
  if (clocked_) clocked_->load_faults(file_.faults());
}

void ArrayTarget::run_jobs() {
  for (;;) {
    wait(start_);
    // A host whose accesses take time may start between two cycles.
    if (const std::uint64_t late = sc_core::sc_time_stamp().value() % cycle_; late != 0)
      wait(sc_core::sc_time::from_value(cycle_ - late));
    try {
      file_.end_job(JobError::none, starts_pass_ ? run_pass() : run_layer());
    } catch (const JobError& error) {
      file_.end_job(error);
    }
    interrupt_level_ = true;
    interrupt_changed_.notify(sc_core::SC_ZERO_TIME);
  }
}

// ---- Operands ----

const std::byte* ArrayTarget::fetch(std::uint64_t address, std::uint64_t length, std::vector<std::byte>& copy,
                                    JobError error) {
  if (!dma.reaches(address, length)) throw error;
  // The functional engine is done with its operands before time passes; a clocked array is not.
  if (engine_) {
    if (const std::byte* bytes = dma.direct(address, length)) return bytes;
  }
  copy.resize(length);
  if (!look(address, copy)) throw error;
  return copy.data();
}

bool ArrayTarget::look(std::uint64_t address, std::span<std::byte> data) {
  // With a memory system the DMA engine's transfers are what takes time; this only finds out what they carry.
  return supply_ ? dma.debug_read(address, data) : dma.read(address, data) == tlm::TLM_OK_RESPONSE;
}

std::vector<Requantization> ArrayTarget::fetch_table(const LayerLaunch& launch) {
  std::vector<Requantization> table;
  if (!launch.requantization) return table;
  table.resize(static_cast<std::size_t>(launch.shape.out_c));
  const auto bytes = std::as_writable_bytes(std::span(table));
  if (!dma.reaches(*launch.requantization, bytes.size()) || !look(*launch.requantization, bytes))
    throw JobError::requantization_unreadable;
  const auto wrong = [](const Requantization& r) { return r.shift < 1 || r.shift > 62; };
  if (std::any_of(table.begin(), table.end(), wrong)) throw JobError::bad_requantization;
  return table;
}

void ArrayTarget::write(std::uint64_t address, std::span<const std::byte> data) {
  if (dma.write(address, data) != tlm::TLM_OK_RESPONSE) throw JobError::output_unwritable;
}

// ---- Layers ----

LaunchReport ArrayTarget::run_layer() {
  timing_counts_ = {};
  const std::optional<LayerLaunch> launch = file_.layer_job();
  if (!launch) throw JobError::bad_shape;
  const LayerShape& shape = launch->shape;
  const auto outputs = static_cast<std::uint64_t>(shape.outputs());
  if (!dma.reaches(launch->output, outputs * (launch->requantization ? 1 : 4)))
    throw JobError::output_unwritable;
  if (launch->pool) {
    const MaxPool& window = launch->pool->window;
    const std::int64_t pooled = shape.batch * window.out_h * window.out_w * shape.out_c;
    if (!dma.reaches(launch->pool->result, static_cast<std::uint64_t>(pooled)))
      throw JobError::output_unwritable;
  }
  std::unique_ptr<LayerPlan> plan;
  try {
    plan = std::make_unique<LayerPlan>(*launch, chip_);
  } catch (const common::InputError&) {
    throw JobError::buffer_too_small;
  }

  LayerWork work(*launch, *plan, fetch_table(*launch));
  std::vector<std::byte> activation_copy, weight_copy;
  work.job.activations = reinterpret_cast<const std::int8_t*>(
      fetch(launch->activations, static_cast<std::uint64_t>(shape.activation_bytes()), activation_copy,
            JobError::activations_unreadable));
  work.job.weights = reinterpret_cast<const std::int8_t*>(
      fetch(launch->weights, static_cast<std::uint64_t>(shape.weight_bytes()), weight_copy,
            JobError::weights_unreadable));

  if (timing_) {
    work.timed = std::make_unique<TimedJob>(timing_, chip_.array, work.job, plan->tiling());
    work.job = work.timed->job();
  }

  LaunchReport report;
  report.traffic = plan->traffic_on_chip(chip_.array);
  if (supply_) {
    const TrafficMeter meter(dram_);
    auto next = launch->next ? std::make_unique<LayerPlan>(*launch->next, chip_) : nullptr;
    supply_->begin(*plan, next.get(), [&](std::int64_t block) { deliver(work, block); });
    plan_ = std::move(plan);
    next_plan_ = std::move(next);
    report.breakdown = run_supplied(work);
    report.traffic += supply_->supply().issued();
    meter.add_to(report.traffic);
  } else {
    report.breakdown = run_ideal(work);
    for (std::int64_t block = 0; block < plan->blocks(); ++block) deliver(work, block);
  }
  if (launch->pool) {
    const auto map = std::as_bytes(work.drain.before_pooling());
    if (!supply_) {
      write(launch->output, map);
    } else if (!dma.debug_write(launch->output, map)) {
      throw JobError::output_unwritable;
    }
  }
  dma.synchronise();
  report.cycles = report.breakdown.total();
  if (work.timed) {
    timing_counts_ = work.timed->counted();
    for (std::size_t i = 0; i < late_words_.size(); ++i) late_words_[i] += work.timed->late_words[i];
  }
  return report;
}

void ArrayTarget::load_timing(std::shared_ptr<const faults::ChipTiming> timing) {
  if (timing) check_timing(*timing, chip_.array);
  late_words_.assign(timing ? timing->at_risk.size() : 0, 0);
  timing_ = timing && !timing->harmless() ? std::move(timing) : nullptr;
}

void ArrayTarget::compute(LayerWork& work) {
  if (work.timed)
    engine_->run(*work.timed);
  else
    engine_->run(work.job);
}

void ArrayTarget::clock_array(LayerWork& work, TileGate* gate) {
  clocked_->start(work.job, work.plan.tiling(), gate, sc_core::sc_time::from_value(cycle_), work.timed.get());
  const auto done = [this] { return clocked_->done(); };
  if (!observer_) {
    clock_->run_until(done);
    return;
  }
  observer_(*clocked_, 0);
  clock_->run_until(done, [this](std::int64_t cycle) { observer_(*clocked_, cycle); });
}

CycleBreakdown ArrayTarget::run_ideal(LayerWork& work) {
  const Tiling& tiling = work.plan.tiling();
  if (engine_) {
    compute(work);
    const CycleBreakdown cycles = ideal_breakdown(work.launch.shape, tiling, chip_.array.rows,
                                                  chip_.array.cols, chip_.array.weight_double_buffer);
    wait(sc_core::sc_time::from_value(static_cast<std::uint64_t>(cycles.total()) * cycle_));
    return cycles;
  }
  clock_array(work, nullptr);
  return clocked_->breakdown();
}

CycleBreakdown ArrayTarget::run_supplied(LayerWork& work) {
  if (engine_) {
    compute(work);
    return supply_->run(closed_form_);
  }
  const std::uint64_t begin = sc_core::sc_time_stamp().value();
  clock_array(work, supply_.get());
  supply_->wait_finished();
  CycleBreakdown cycles = clocked_->breakdown();
  // The array's sequencer sleeps once its last result is out.
  const std::uint64_t all = (sc_core::sc_time_stamp().value() - begin) / cycle_;
  cycles.stall_output = static_cast<std::int64_t>(all) - cycles.total();
  return cycles;
}

void ArrayTarget::deliver(LayerWork& work, std::int64_t block) {
  const Range& m = work.plan.m_of(block);
  const Range& n = work.plan.n_of(block);
  const std::int64_t column = work.plan.group_of(block) * work.launch.shape.n() + n.begin;
  if (work.timed) work.timed->flip_outputs(m, {column, n.count});
  std::vector<std::int32_t> values(static_cast<std::size_t>(m.count * n.count));
  for (std::int64_t i = 0; i < m.count; ++i) {
    const std::span row(work.results.data() + (m.begin + i) * work.launch.shape.out_c + column,
                        static_cast<std::size_t>(n.count));
    const std::span in_block = std::span(values).subspan(static_cast<std::size_t>(i * n.count), row.size());
    if (!supply_) {
      std::copy(row.begin(), row.end(), in_block.begin());
      continue;
    }
    const std::int64_t half =
        chip_.memory->accumulators.double_buffer ? block % 2 * (chip_.memory->accumulators.entries / 2) : 0;
    const auto entry = kAccumulatorBase + static_cast<std::uint64_t>((half + i) * chip_.array.cols * 4);
    write(entry, std::as_bytes(row));
    if (dma.read(entry, std::as_writable_bytes(in_block)) != tlm::TLM_OK_RESPONSE)
      throw JobError::output_unwritable;
  }
  const std::vector<std::byte> result = work.drain.drain(block, values);
  std::size_t from = 0;
  for (const memory::Run& place : work.plan.result_places(block)) {
    write(place.chip, std::span(result).subspan(from, static_cast<std::size_t>(place.bytes)));
    from += static_cast<std::size_t>(place.bytes);
  }
}

// ---- Passes of the activation unit ----

LaunchReport ArrayTarget::run_pass() {
  timing_counts_ = {};
  const std::optional<VectorLaunch> launch = file_.vector_job();
  if (!launch) throw JobError::bad_vector;
  const auto length = static_cast<std::uint64_t>(launch->rows * launch->channels);
  const auto map = [&](std::uint64_t address, std::vector<std::byte>& copy) {
    copy.resize(length);
    if (!dma.reaches(address, length) || !look(address, copy)) throw JobError::activations_unreadable;
    return std::span(reinterpret_cast<const std::int8_t*>(copy.data()), length);
  };
  if (!dma.reaches(launch->output, length)) throw JobError::output_unwritable;
  std::vector<std::byte> a_copy, b_copy;
  std::vector<std::int8_t> result(length);
  const std::span<const std::int8_t> a = map(launch->a, a_copy);
  switch (launch->kind) {
    case VectorLaunch::Kind::add:
      residual_add(a, map(launch->b, b_copy), launch->add, launch->relu, result);
      break;
    case VectorLaunch::Kind::local_response_norm:
      local_response_norm(launch->norm, launch->channels, launch->norm_in_scale, launch->norm_out_scale, a,
                          result);
      break;
  }
  const auto bytes = std::as_bytes(std::span(result));
  LaunchReport report;
  if (!supply_) {
    write(launch->output, bytes);
    dma.synchronise();
    return report;
  }
  std::optional<VectorPass> pass;
  try {
    pass.emplace(*launch, chip_, supply_->supply());
  } catch (const common::InputError&) {
    throw JobError::buffer_too_small;
  }
  const TrafficMeter meter(dram_);
  report.breakdown = supply_->run(*pass, [&] { write(pass->result_place(), bytes); });
  report.traffic = pass->traffic();
  meter.add_to(report.traffic);
  report.cycles = report.breakdown.total();
  return report;
}

void ArrayTarget::observe(CycleObserver observer) {
  if (!clocked_) throw std::logic_error("ArrayTarget: the functional fidelity has no registers to observe");
  clocked_->make_observable();
  observer_ = std::move(observer);
}

void ArrayTarget::observe_timeline(TimelineSink sink) {
  if (supply_) supply_->observe(std::move(sink));
}

void ArrayTarget::drive_interrupt() {
  interrupt.write(interrupt_level_);
}

}  // namespace kintsugi::array

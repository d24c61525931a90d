#include "array/array_target_sc.h"

#include <algorithm>
#include <cstring>
#include <span>
#include <stdexcept>
#include <utility>

#include "array/cycle_array_sc.h"
#include "array/pe_array_sc.h"

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

}  // namespace

ArrayTarget::ArrayTarget(sc_core::sc_module_name name, const configs::ChipConfig& chip,
                         configs::Fidelity fidelity, common::ThreadPool* pool)
    : sc_core::sc_module(name), file_(chip.array), cycle_(cycle_femtoseconds(chip.clock_mhz)) {
  switch (fidelity) {
    case configs::Fidelity::functional:
      engine_ = std::make_unique<FunctionalEngine>(chip.array, chip.convolution, pool);
      break;
    case configs::Fidelity::cycle:
      clocked_ = std::make_unique<CycleArray>("cycle_array", chip.array, chip.convolution);
      break;
    case configs::Fidelity::pe:
      clocked_ = std::make_unique<PeArray>("pe_array", chip.array, chip.convolution);
      break;
  }
  if (clocked_) {
    clock_ = std::make_unique<GatedClock>("gated_clock", cycle_);
    clock_->clock(clock_line_);
    clocked_->clock(clock_line_);
  }

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
    transaction.set_response_status(tlm::TLM_BYTE_ENABLE_ERROR_RESPONSE);
    return;
  }
  if (transaction.get_streaming_width() < length) {
    transaction.set_response_status(tlm::TLM_BURST_ERROR_RESPONSE);
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
  transaction.set_response_status(to_response(result));
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
    const JobResult result = run_job();
    file_.end_job(result.error, result.cycles, 0);  // ideal memory never stalls
    interrupt_level_ = true;
    interrupt_changed_.notify(sc_core::SC_ZERO_TIME);
  }
}

const std::byte* ArrayTarget::fetch(std::uint64_t address, std::uint64_t length,
                                    std::vector<std::byte>& copy) {
  if (!dma.reaches(address, length)) return nullptr;
  // The functional engine is done with its operands before time passes; a clocked array is not.
  if (engine_) {
    if (const std::byte* bytes = dma.direct(address, length)) return bytes;
  }
  copy.resize(length);
  return dma.read(address, copy) == tlm::TLM_OK_RESPONSE ? copy.data() : nullptr;
}

ArrayTarget::JobResult ArrayTarget::run_job() {
  const auto request = file_.job();
  if (!request) return {JobError::bad_shape};
  const LayerShape& shape = request->shape;
  if (!dma.reaches(request->output, request->output_bytes())) return {JobError::output_unwritable};

  std::vector<Requantization> table;
  if (request->requantize) {
    const std::uint64_t bytes = static_cast<std::uint64_t>(shape.out_c) * sizeof(Requantization);
    if (!dma.reaches(request->requantization, bytes)) return {JobError::requantization_unreadable};
    table.resize(static_cast<std::size_t>(shape.out_c));
    if (dma.read(request->requantization, std::as_writable_bytes(std::span(table))) != tlm::TLM_OK_RESPONSE) {
      return {JobError::requantization_unreadable};
    }
    const auto wrong = [](const Requantization& r) { return r.shift < 1 || r.shift > 62; };
    if (std::any_of(table.begin(), table.end(), wrong)) return {JobError::bad_requantization};
  }

  std::vector<std::byte> activation_copy, weight_copy;
  const std::byte* activations =
      fetch(request->activations, static_cast<std::uint64_t>(shape.activation_bytes()), activation_copy);
  if (activations == nullptr) return {JobError::activations_unreadable};
  const std::byte* weights =
      fetch(request->weights, static_cast<std::uint64_t>(shape.weight_bytes()), weight_copy);
  if (weights == nullptr) return {JobError::weights_unreadable};

  std::vector<std::int32_t> accumulators(static_cast<std::size_t>(shape.outputs()));
  const std::int64_t cycles = run_array({.shape = shape,
                                         .activations = reinterpret_cast<const std::int8_t*>(activations),
                                         .weights = reinterpret_cast<const std::int8_t*>(weights),
                                         .accumulators = accumulators.data()});

  auto written = tlm::TLM_OK_RESPONSE;
  if (request->requantize) {
    std::vector<std::int8_t> quantized(accumulators.size());
    requantize(accumulators, table, request->relu, quantized);
    written = dma.write(request->output, std::as_bytes(std::span(quantized)));
  } else {
    written = dma.write(request->output, std::as_bytes(std::span(accumulators)));
  }
  dma.synchronise();
  return {written == tlm::TLM_OK_RESPONSE ? JobError::none : JobError::output_unwritable, cycles};
}

std::int64_t ArrayTarget::run_array(const LayerJob& job) {
  if (engine_) {
    const std::int64_t cycles = engine_->run(job);
    wait(sc_core::sc_time::from_value(static_cast<std::uint64_t>(cycles) * cycle_));
    return cycles;
  }
  clocked_->start(job);
  const auto done = [this] { return clocked_->done(); };
  if (!observer_) return clock_->run_until(done);
  observer_(*clocked_, 0);
  return clock_->run_until(done, [this](std::int64_t cycle) { observer_(*clocked_, cycle); });
}

void ArrayTarget::observe(CycleObserver observer) {
  if (!clocked_) throw std::logic_error("ArrayTarget: the functional fidelity has no registers to observe");
  clocked_->make_observable();
  observer_ = std::move(observer);
}

void ArrayTarget::drive_interrupt() {
  interrupt.write(interrupt_level_);
}

}  // namespace kintsugi::array

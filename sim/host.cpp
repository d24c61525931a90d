#include "sim/host.h"

#include <fmt/format.h>

#include <array>
#include <stdexcept>
#include <utility>
#include <vector>

#include "array/layer_plan.h"
#include "common/diagnostics.h"
#include "sim/platform.h"
#include "sim/sanitizer_stack.h"

namespace kintsugi::sim {
namespace {

// `bus` is what the access went over: it knows who refused it, and why.
void require_ok(tlm::tlm_response_status status, const memory::BusMaster& bus, const char* what) {
  if (status == tlm::TLM_OK_RESPONSE) return;
  const std::string text = fmt::format("{} refused: {}", what, bus.last_refusal());
  if (status == tlm::TLM_ADDRESS_ERROR_RESPONSE) throw std::out_of_range(text);
  throw std::runtime_error(text);
}

}  // namespace

Host::Host(sc_core::sc_module_name name, std::uint64_t registers)
    : sc_core::sc_module(name), registers_(registers) {
  SC_THREAD(serve);
}

void Host::perform(std::function<void()> operation) {
  operation_ = std::move(operation);
  error_ = nullptr;
  // Before the first start the thread finds the operation by itself.
  if (sc_core::sc_get_status() == sc_core::SC_PAUSED) requested_.notify(sc_core::SC_ZERO_TIME);
  try {
    sc_core::sc_start();
    restore_sanitizer_stack();
  } catch (const sc_core::sc_report& report) {
    restore_sanitizer_stack();
    throw std::runtime_error(fmt::format("simulation stopped: {}", report.what()));
  }
  if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
  if (operation_) {
    operation_ = nullptr;
    throw std::runtime_error("the platform fell idle before the host's operation was done");
  }
}

void Host::serve() {
  for (;;) {
    while (!operation_) wait(requested_);
    try {
      operation_();
      bus.synchronise();
    } catch (const sc_core::sc_unwind_exception&) {
      throw;  // SystemC is taking the thread down
    } catch (const sc_core::sc_report& report) {
      error_ = std::make_exception_ptr(std::runtime_error(fmt::format("simulation: {}", report.what())));
    } catch (...) {
      error_ = std::current_exception();
    }
    operation_ = nullptr;
    // Not until the platform falls idle: weights fetched ahead for the next job may be on their way, and that
    // job starts in the cycle in which the last one ended.
    sc_core::sc_pause();
  }
}

void Host::write_register(array::Register which, std::uint64_t value) {
  require_ok(bus.write_register(registers_ + offset_of(which), value), bus, "register write");
}

std::uint64_t Host::read_register(array::Register which) {
  std::uint64_t value = 0;
  require_ok(bus.read_register(registers_ + offset_of(which), value), bus, "register read");
  return value;
}

void Host::write_window(std::uint64_t offset, std::span<const std::byte> data) {
  require_ok(bus.write(registers_ + offset, data), bus, "window write");
}

void Host::run_job(array::Control start) {
  bus.synchronise();  // what was written before START must have arrived
  write_register(array::Register::control, start);
  if (!interrupt.read()) wait(interrupt.posedge_event());
  interrupt_time_ = sc_core::sc_time_stamp();
  write_register(array::Register::control, array::kAcknowledge);
  wait(interrupt.negedge_event());
}

TlmAccelerator::TlmAccelerator(const configs::ChipConfig& chip, configs::Fidelity fidelity,
                               common::ThreadPool* pool, std::uint64_t memory_bytes, bool dmi)
    : chip_(chip), memory_bytes_(memory_bytes) {
  if (sc_core::sc_get_status() != sc_core::SC_ELABORATION || sc_core::sc_find_object("platform") != nullptr) {
    throw std::logic_error("SystemC can build one platform per process; fork for another");
  }
  if (memory_bytes == 0 || memory_bytes > kArrayBase) {
    throw std::invalid_argument(
        fmt::format("device memory of {} bytes: allowed are 1 to {}", memory_bytes, kArrayBase));
  }
  sc_core::sc_set_time_resolution(1, sc_core::SC_FS);
  platform_ = std::make_unique<Platform>("platform", chip_, fidelity, pool, memory_bytes, dmi);
}

TlmAccelerator::~TlmAccelerator() = default;

void TlmAccelerator::require_memory(const char* what, array::DeviceAddress address,
                                    std::uint64_t bytes) const {
  const bool on_chip = address >= array::kBufferBase && buffer_bytes() > 0;
  const std::uint64_t base = on_chip ? array::kBufferBase : 0;
  const std::uint64_t size = on_chip ? buffer_bytes() : memory_bytes_;
  if (address - base <= size && bytes <= size - (address - base)) return;
  throw std::out_of_range(fmt::format("{} of {} bytes at address {:#x}: the device's {} ends at {:#x}", what,
                                      bytes, address, on_chip ? "unified buffer" : "memory", base + size));
}

void TlmAccelerator::data_to_device(array::DeviceAddress address, std::span<const std::byte> data) {
  require_memory("write", address, data.size());  // the bus reaches further than memory does
  Host& host = platform_->host;
  host.perform([&] { require_ok(host.bus.write(address, data), host.bus, "write"); });
}

void TlmAccelerator::data_from_device(array::DeviceAddress address, std::span<std::byte> data) {
  require_memory("read", address, data.size());
  Host& host = platform_->host;
  host.perform([&] { require_ok(host.bus.read(address, data), host.bus, "read"); });
}

array::LaunchReport TlmAccelerator::launch(const array::LayerLaunch& launch) {
  array::check_launch(launch, chip_);
  if (chip_.memory) array::LayerPlan(launch, chip_);  // says what does not fit
  const array::LayerShape& shape = launch.shape;
  require_memory("activations", launch.activations, static_cast<std::uint64_t>(shape.activation_bytes()));
  require_memory("weights", launch.weights, static_cast<std::uint64_t>(shape.weight_bytes()));
  require_memory("output", launch.output,
                 static_cast<std::uint64_t>(shape.outputs()) * (launch.requantization ? 1 : 4));
  return run(array::registers_of(launch), array::kStart);
}

array::LaunchReport TlmAccelerator::launch(const array::VectorLaunch& launch) {
  array::check_launch(launch, chip_);
  return run(array::registers_of(launch), array::kStartVector);
}

array::LaunchReport TlmAccelerator::run(const array::RegisterValues& job, array::Control start) {
  using array::JobError;
  using array::Register;
  array::LaunchReport report;
  Host& host = platform_->host;
  host.perform([&] {
    for (const auto& [which, value] : job) host.write_register(which, value);
    host.run_job(start);
    const auto error = static_cast<JobError>(host.read_register(Register::error));
    switch (error) {
      case JobError::none:
        break;
      case JobError::bad_shape:
      case JobError::bad_requantization:
      case JobError::bad_vector:
        throw std::invalid_argument(fmt::format("launch refused: {}", to_string(error)));
      case JobError::buffer_too_small:
        throw common::InputError(
            fmt::format("launch refused: {}; give the chip a larger 'memory: unified_buffer: size_kib'",
                        to_string(error)));
      case JobError::activations_unreadable:
      case JobError::weights_unreadable:
      case JobError::requantization_unreadable:
      case JobError::output_unwritable:
        throw std::out_of_range(
            fmt::format("launch refused: {} (device memory ends at {:#x})", to_string(error), memory_bytes_));
    }
    report = array::report_in_registers([&](Register which) { return host.read_register(which); });
    report.timing = platform_->array.timing_counts();
  });
  return report;
}

void TlmAccelerator::observe_timeline(array::TimelineSink sink) {
  platform_->array.observe_timeline(std::move(sink));
}

void TlmAccelerator::observe(
    std::function<void(const array::ClockedArray& array, std::int64_t cycle)> observer) {
  platform_->array.observe(std::move(observer));
}

void TlmAccelerator::load_timing(std::shared_ptr<const faults::ChipTiming> timing) {
  platform_->array.load_timing(std::move(timing));
}

std::vector<std::int64_t> TlmAccelerator::late_words_by_pe() const {
  return platform_->array.late_words_by_pe();
}

void TlmAccelerator::load_faults(const faults::ArrayFaults& faults) {
  if (faults.rows != chip_.array.rows || faults.cols != chip_.array.cols) {
    throw std::invalid_argument(fmt::format("faults of a {}x{} array loaded into one of {}x{}", faults.rows,
                                            faults.cols, chip_.array.rows, chip_.array.cols));
  }
  if (chip_.array.bypass == configs::Bypass::none && faults.bypassed_pes() > 0) {
    throw std::invalid_argument(
        fmt::format("{} PEs are bypassed, but the chip has no bypass multiplexers", faults.bypassed_pes()));
  }
  std::vector<std::uint32_t> packed((faults.bypass.size() + 31) / 32, 0);
  for (std::size_t pe = 0; pe < faults.bypass.size(); ++pe) {
    packed[pe / 32] |= static_cast<std::uint32_t>(faults.bypass[pe] != 0) << (pe % 32);
  }
  Host& host = platform_->host;
  host.perform([&] {
    host.write_register(array::Register::control, array::kClearFaults);
    if (chip_.array.bypass == configs::Bypass::fap) {
      host.write_window(array::kBypassWindow, std::as_bytes(std::span(packed)));
    }
    for (const faults::FaultyPe& pe : faults.faulty) {
      std::array<std::uint32_t, array::kHooksBytes / 4> words{};
      for (int site = 0; site < pe::kSites; ++site) {
        const pe::Hook& hook = pe.hooks.at[site];
        words[3 * site] = hook.keep;
        words[3 * site + 1] = hook.set;
        words[3 * site + 2] = hook.flip;
      }
      const auto index = static_cast<std::uint64_t>(pe.row) * faults.cols + pe.col;
      host.write_window(array::kHooksWindow + index * array::kHooksStride,
                        std::as_bytes(std::span<const std::uint32_t>(words)));
    }
    host.write_register(array::Register::control, array::kLoadFaults);
  });
}

}  // namespace kintsugi::sim

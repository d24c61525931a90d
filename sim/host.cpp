#include "sim/host.h"

#include <fmt/format.h>

#include <array>
#include <stdexcept>
#include <utility>
#include <vector>

#include "sim/platform.h"
#include "sim/sanitizer_stack.h"

namespace kintsugi::sim {
namespace {

void require_ok(tlm::tlm_response_status status, const char* what, std::uint64_t address,
                std::uint64_t length) {
  if (status == tlm::TLM_OK_RESPONSE) return;
  const std::string text = fmt::format("{} of {} bytes at address {:#x} was refused ({})", what, length,
                                       address, static_cast<int>(status));
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
  }
}

void Host::write_register(array::Register which, std::uint64_t value) {
  const std::uint64_t address = registers_ + offset_of(which);
  require_ok(bus.write_register(address, value), "register write", address, 8);
}

std::uint64_t Host::read_register(array::Register which) {
  const std::uint64_t address = registers_ + offset_of(which);
  std::uint64_t value = 0;
  require_ok(bus.read_register(address, value), "register read", address, 8);
  return value;
}

void Host::write_window(std::uint64_t offset, std::span<const std::byte> data) {
  require_ok(bus.write(registers_ + offset, data), "window write", registers_ + offset, data.size());
}

void Host::run_job() {
  bus.synchronise();  // what was written before START must have arrived
  write_register(array::Register::control, array::kStart);
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

void TlmAccelerator::data_to_device(array::DeviceAddress address, std::span<const std::byte> data) {
  // The bus reaches further than memory does; the interface promises memory.
  if (address > memory_bytes_ || data.size() > memory_bytes_ - address) {
    throw std::out_of_range(fmt::format("write of {} bytes at address {:#x}: device memory ends at {:#x}",
                                        data.size(), address, memory_bytes_));
  }
  Host& host = platform_->host;
  host.perform([&] { require_ok(host.bus.write(address, data), "write", address, data.size()); });
}

void TlmAccelerator::data_from_device(array::DeviceAddress address, std::span<std::byte> data) {
  if (address > memory_bytes_ || data.size() > memory_bytes_ - address) {
    throw std::out_of_range(fmt::format("read of {} bytes at address {:#x}: device memory ends at {:#x}",
                                        data.size(), address, memory_bytes_));
  }
  Host& host = platform_->host;
  host.perform([&] { require_ok(host.bus.read(address, data), "read", address, data.size()); });
}

array::LaunchReport TlmAccelerator::launch(const array::LayerLaunch& launch) {
  using array::Register;
  array::check_launch(launch);
  const array::LayerShape& shape = launch.shape;
  const std::array<std::pair<Register, std::uint64_t>, 15> job = {{
      {Register::batch, shape.batch},
      {Register::in_h, shape.in_h},
      {Register::in_w, shape.in_w},
      {Register::in_c, shape.in_c},
      {Register::kernel_h, shape.kernel_h},
      {Register::kernel_w, shape.kernel_w},
      {Register::stride, shape.stride},
      {Register::padding, shape.padding},
      {Register::groups, shape.groups},
      {Register::out_c, shape.out_c},
      {Register::activations, launch.activations},
      {Register::weights, launch.weights},
      {Register::output, launch.output},
      {Register::requantization, launch.requantization.value_or(0)},
      {Register::flags,
       (launch.requantization ? array::kRequantize : 0u) | (launch.relu ? array::kRelu : 0u)},
  }};
  array::LaunchReport report;
  Host& host = platform_->host;
  host.perform([&] {
    for (const auto& [which, value] : job) host.write_register(which, value);
    host.run_job();
    const auto error = static_cast<array::JobError>(host.read_register(Register::error));
    switch (error) {
      case array::JobError::none:
        break;
      case array::JobError::bad_shape:
      case array::JobError::bad_requantization:
        throw std::invalid_argument(fmt::format("launch refused: {}", to_string(error)));
      case array::JobError::activations_unreadable:
      case array::JobError::weights_unreadable:
      case array::JobError::requantization_unreadable:
      case array::JobError::output_unwritable:
        throw std::out_of_range(fmt::format(
            "launch refused: {} (activations {} bytes at {:#x}, weights {} bytes at {:#x}, output at {:#x}, "
            "memory ends at {:#x})",
            to_string(error), shape.activation_bytes(), launch.activations, shape.weight_bytes(),
            launch.weights, launch.output, memory_bytes_));
    }
    report.cycles = static_cast<std::int64_t>(host.read_register(Register::cycles));
    report.stall_cycles = static_cast<std::int64_t>(host.read_register(Register::stall_cycles));
  });
  return report;
}

void TlmAccelerator::observe(
    std::function<void(const array::ClockedArray& array, std::int64_t cycle)> observer) {
  platform_->array.observe(std::move(observer));
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

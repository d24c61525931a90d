// The host: the processor beside the chip, as a SystemC initiator, and its C++ face.
//
// Host is the module: one thread that serves one operation at a time over TLM-2.0. TlmAccelerator puts the
// seven-call Accelerator interface in front of it: each call is an ordinary blocking C++ call from outside
// SystemC, which hands an operation to the host's thread and lets the simulation run until it falls idle.
#pragma once

#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <span>
#include <systemc>
#include <vector>

#include "array/accelerator.h"
#include "array/clocked_array.h"
#include "array/job_registers.h"
#include "array/register_map.h"
#include "configs/fidelity.h"
#include "memory/bus_master.h"

namespace kintsugi::common {
class ThreadPool;
}

namespace kintsugi::sim {

class Platform;

class Host : public sc_core::sc_module {
 public:
  memory::BusMaster bus{"bus"};
  sc_core::sc_in<bool> interrupt{"interrupt"};

  SC_HAS_PROCESS(Host);
  // `registers`: where the array target's registers begin.
  Host(sc_core::sc_module_name name, std::uint64_t registers);

  // Runs `operation` in the host's thread and the simulation until nothing is left to happen. From outside
  // SystemC only. Rethrows what the operation threw; errors that SystemC reports become std::runtime_error.
  void perform(std::function<void()> operation);

  // What follows is for operations: it must be called in the host's thread.
  void write_register(array::Register which, std::uint64_t value);
  std::uint64_t read_register(array::Register which);
  // Writes into one of the array target's windows, `offset` bytes from its base.
  void write_window(std::uint64_t offset, std::span<const std::byte> data);
  // Starts the job that the registers describe (kStart or kStartVector), sleeps until the interrupt,
  // acknowledges it.
  void run_job(array::Control start);

  // When the last interrupt came.
  const sc_core::sc_time& interrupt_time() const { return interrupt_time_; }

 private:
  void serve();

  std::uint64_t registers_;
  std::function<void()> operation_;
  std::exception_ptr error_;
  sc_core::sc_event requested_{"requested"};
  sc_core::sc_time interrupt_time_;
};

class TlmAccelerator final : public array::Accelerator {
 public:
  static constexpr std::uint64_t kDefaultMemory = std::uint64_t{4} << 30;

  // Elaborates the platform; one per process (a second one throws std::logic_error). Without `dmi` every byte
  // travels as a transaction. `pool` (functional fidelity) may be null.
  TlmAccelerator(const configs::ChipConfig& chip, configs::Fidelity fidelity,
                 common::ThreadPool* pool = nullptr, std::uint64_t memory_bytes = kDefaultMemory,
                 bool dmi = true);
  ~TlmAccelerator() override;

  void data_to_device(array::DeviceAddress address, std::span<const std::byte> data) override;
  void data_from_device(array::DeviceAddress address, std::span<std::byte> data) override;
  // Throw std::invalid_argument for what check_launch refuses, std::out_of_range for operands outside memory,
  // common::InputError if the unified buffer is too small.
  array::LaunchReport launch(const array::LayerLaunch& launch) override;
  array::LaunchReport launch(const array::VectorLaunch& launch) override;
  // Throws std::invalid_argument if the size is not the array's, or if something is bypassed on a chip
  // without the multiplexer.
  void load_faults(const faults::ArrayFaults& faults) override;
  void load_timing(std::shared_ptr<const faults::ChipTiming> timing) override;
  std::vector<std::int64_t> late_words_by_pe() const override;
  const configs::ChipConfig& chip() const override { return chip_; }
  std::uint64_t memory_bytes() const override { return memory_bytes_; }

  // Shows every cycle of a clocked array to `observer`; before faults are loaded. See ArrayTarget::observe.
  void observe(std::function<void(const array::ClockedArray& array, std::int64_t cycle)> observer);

  void observe_timeline(array::TimelineSink sink) override;

  const Platform& platform() const { return *platform_; }

 private:
  // Throws std::out_of_range if it is not device memory: DRAM or unified buffer.
  void require_memory(const char* what, array::DeviceAddress address, std::uint64_t bytes) const;
  array::LaunchReport run(const array::RegisterValues& job, array::Control start);

  configs::ChipConfig chip_;
  std::uint64_t memory_bytes_;
  std::unique_ptr<Platform> platform_;
};

}  // namespace kintsugi::sim

#include "array/functional_accelerator.h"

#include <fmt/format.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <new>
#include <span>
#include <stdexcept>

#include "array/requantize.h"
#include "common/thread_pool.h"

namespace kintsugi::array {

struct FunctionalAccelerator::Impl {
  configs::ChipConfig chip;
  common::ThreadPool* pool;
  std::uint64_t bytes;
  FunctionalEngine engine;
  std::byte* memory = nullptr;
  std::vector<std::int32_t> accumulators;  // of a launch that requantises

  Impl(const configs::ChipConfig& config, common::ThreadPool* threads, std::uint64_t size)
      : chip(config), pool(threads), bytes(size), engine(config.array, config.convolution, threads) {
    void* at =
        mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (at == MAP_FAILED) throw std::bad_alloc();
    memory = static_cast<std::byte*>(at);
  }
  ~Impl() { munmap(memory, bytes); }
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  std::byte* at(DeviceAddress address, std::uint64_t length, const char* what) const {
    if (address > bytes || length > bytes - address)
      throw std::out_of_range(
          fmt::format("{}: address {} and length {} leave the device's memory of {} bytes", what, address,
                      length, bytes));
    return memory + address;
  }
  template <class T>
  T* typed(DeviceAddress address, std::int64_t count, const char* what) const {
    if (address % alignof(T) != 0)
      throw std::invalid_argument(
          fmt::format("{}: address {} must be a multiple of {}", what, address, alignof(T)));
    return reinterpret_cast<T*>(at(address, static_cast<std::uint64_t>(count) * sizeof(T), what));
  }

  void requantize_all(const LayerLaunch& launch, std::span<const Requantization> table, std::int8_t* out) {
    constexpr std::int64_t kRows = 1024;
    const std::int64_t m = launch.shape.m(), channels = launch.shape.out_c;
    const auto body = [&](std::int64_t block) {
      const std::int64_t begin = block * kRows * channels;
      const auto count = static_cast<std::size_t>(std::min(kRows, m - block * kRows) * channels);
      requantize(std::span(accumulators.data() + begin, count), table, launch.relu,
                 std::span(out + begin, count));
    };
    const std::int64_t blocks = (m + kRows - 1) / kRows;
    if (pool != nullptr && blocks > 1) {
      pool->parallel_for(blocks, body);
    } else {
      for (std::int64_t block = 0; block < blocks; ++block) body(block);
    }
  }
};

FunctionalAccelerator::FunctionalAccelerator(const configs::ChipConfig& chip, common::ThreadPool* pool,
                                             std::uint64_t memory_bytes)
    : impl_(std::make_unique<Impl>(chip, pool, memory_bytes)) {}

FunctionalAccelerator::~FunctionalAccelerator() = default;

void FunctionalAccelerator::data_to_device(DeviceAddress address, std::span<const std::byte> data) {
  std::byte* to = impl_->at(address, data.size(), "data_to_device");
  if (!data.empty()) std::memcpy(to, data.data(), data.size());
}

void FunctionalAccelerator::data_from_device(DeviceAddress address, std::span<std::byte> data) {
  const std::byte* from = impl_->at(address, data.size(), "data_from_device");
  if (!data.empty()) std::memcpy(data.data(), from, data.size());
}

LaunchReport FunctionalAccelerator::launch(const LayerLaunch& launch) {
  const LayerShape& shape = launch.shape;
  check_launch(launch);
  LayerJob job;
  job.shape = shape;
  job.activations = impl_->typed<std::int8_t>(launch.activations, shape.activation_bytes(), "activations");
  job.weights = impl_->typed<std::int8_t>(launch.weights, shape.weight_bytes(), "weights");
  if (!launch.requantization) {
    job.accumulators = impl_->typed<std::int32_t>(launch.output, shape.outputs(), "output");
    return {impl_->engine.run(job), 0};
  }
  const std::span<const Requantization> table(
      impl_->typed<Requantization>(*launch.requantization, shape.out_c, "requantization"),
      static_cast<std::size_t>(shape.out_c));
  for (const Requantization& r : table)
    if (r.shift < 1 || r.shift > 62)
      throw std::invalid_argument(
          fmt::format("launch: a requantisation shift of {} is outside 1 ... 62", r.shift));
  std::int8_t* out = impl_->typed<std::int8_t>(launch.output, shape.outputs(), "output");
  impl_->accumulators.resize(static_cast<std::size_t>(shape.outputs()));
  job.accumulators = impl_->accumulators.data();
  const std::int64_t cycles = impl_->engine.run(job);
  impl_->requantize_all(launch, table, out);
  return {cycles, 0};
}

void FunctionalAccelerator::load_faults(const faults::ArrayFaults& faults) {
  if (impl_->chip.array.bypass == configs::Bypass::none && faults.bypassed_pes() > 0)
    throw std::invalid_argument(
        fmt::format("{} PEs are bypassed, but the chip has no bypass multiplexers", faults.bypassed_pes()));
  impl_->engine.load_faults(faults);
}

const configs::ChipConfig& FunctionalAccelerator::chip() const {
  return impl_->chip;
}

std::uint64_t FunctionalAccelerator::memory_bytes() const {
  return impl_->bytes;
}

}  // namespace kintsugi::array

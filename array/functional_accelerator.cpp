#include "array/functional_accelerator.h"

#include <fmt/format.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <new>
#include <span>
#include <stdexcept>
#include <utility>

#include "array/activation_unit.h"
#include "array/layer_calendar.h"
#include "array/layer_plan.h"
#include "array/requantize.h"
#include "common/thread_pool.h"

namespace kintsugi::array {

namespace {

// Reserved, not touched, until used; zeroed.
class Region {
 public:
  explicit Region(std::uint64_t bytes) : bytes_(bytes) {
    if (bytes == 0) return;
    void* at =
        mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (at == MAP_FAILED) throw std::bad_alloc();
    memory_ = static_cast<std::byte*>(at);
  }
  ~Region() {
    if (memory_ != nullptr) munmap(memory_, bytes_);
  }
  Region(const Region&) = delete;
  Region& operator=(const Region&) = delete;

  std::uint64_t bytes() const { return bytes_; }
  // Null if it is not all there.
  std::byte* at(std::uint64_t offset, std::uint64_t length) const {
    return offset > bytes_ || length > bytes_ - offset ? nullptr : memory_ + offset;
  }

 private:
  std::uint64_t bytes_;
  std::byte* memory_ = nullptr;
};

std::uint64_t unified_buffer_bytes(const configs::ChipConfig& chip) {
  return chip.memory ? static_cast<std::uint64_t>(chip.memory->unified_buffer.bytes) : 0;
}

}  // namespace

struct FunctionalAccelerator::Impl {
  configs::ChipConfig chip;
  common::ThreadPool* pool;
  FunctionalEngine engine;
  LayerCalendar calendar;
  Region dram, buffer;
  std::vector<std::int32_t> accumulators;            // of a launch that requantises
  std::shared_ptr<const faults::ChipTiming> timing;  // null: no errors
  std::vector<std::int64_t> late_words;

  Impl(const configs::ChipConfig& config, common::ThreadPool* threads, std::uint64_t size)
      : chip(config),
        pool(threads),
        engine(config.array, config.convolution, threads),
        calendar(config),
        dram(size),
        buffer(unified_buffer_bytes(config)) {}

  std::byte* at(DeviceAddress address, std::uint64_t length, const char* what) const {
    const bool on_chip = address >= kBufferBase && buffer.bytes() > 0;
    const Region& region = on_chip ? buffer : dram;
    std::byte* bytes = region.at(on_chip ? address - kBufferBase : address, length);
    if (bytes == nullptr)
      throw std::out_of_range(fmt::format("{}: address {} and length {} leave the device's {} of {} bytes",
                                          what, address, length, on_chip ? "unified buffer" : "memory",
                                          region.bytes()));
    return bytes;
  }
  template <class T>
  T* typed(DeviceAddress address, std::int64_t count, const char* what) const {
    if (address % alignof(T) != 0)
      throw std::invalid_argument(
          fmt::format("{}: address {} must be a multiple of {}", what, address, alignof(T)));
    return reinterpret_cast<T*>(at(address, static_cast<std::uint64_t>(count) * sizeof(T), what));
  }
  std::span<std::int8_t> map(DeviceAddress address, std::int64_t count, const char* what) const {
    return {typed<std::int8_t>(address, count, what), static_cast<std::size_t>(count)};
  }

  void for_each(std::int64_t count, const std::function<void(std::int64_t)>& body) const {
    if (pool != nullptr && count > 1) {
      pool->parallel_for(count, body);
    } else {
      for (std::int64_t i = 0; i < count; ++i) body(i);
    }
  }

  TimingCounts compute(const LayerLaunch& launch, const LayerJob& job) {
    if (!timing) {
      engine.run(job);
      return {};
    }
    TimedJob timed(timing, chip.array, job, LayerPlan(launch, chip).tiling());
    engine.run(timed);
    timed.flip_outputs({0, job.shape.m()}, {0, job.shape.out_c});
    for (std::size_t i = 0; i < late_words.size(); ++i) late_words[i] += timed.late_words[i];
    return timed.counted();
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
    for_each((m + kRows - 1) / kRows, body);
  }

  void pool_all(const LayerShape& shape, const MaxPool& window, std::span<const std::int8_t> in,
                std::span<std::int8_t> out) const {
    const auto from = in.size() / static_cast<std::size_t>(shape.batch),
               to = out.size() / static_cast<std::size_t>(shape.batch);
    for_each(shape.batch, [&](std::int64_t image) {
      const auto i = static_cast<std::size_t>(image);
      max_pool(window, 1, shape.out_h(), shape.out_w(), shape.out_c, in.subspan(i * from, from),
               out.subspan(i * to, to));
    });
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
  check_launch(launch, impl_->chip);
  LayerJob job;
  job.shape = shape;
  job.activations = impl_->typed<std::int8_t>(launch.activations, shape.activation_bytes(), "activations");
  job.weights = impl_->typed<std::int8_t>(launch.weights, shape.weight_bytes(), "weights");
  if (!launch.requantization) {
    job.accumulators = impl_->typed<std::int32_t>(launch.output, shape.outputs(), "output");
    LaunchReport report = impl_->calendar.run(launch);
    report.timing = impl_->compute(launch, job);
    return report;
  }
  const std::span<const Requantization> table(
      impl_->typed<Requantization>(*launch.requantization, shape.out_c, "requantization"),
      static_cast<std::size_t>(shape.out_c));
  for (const Requantization& r : table)
    if (r.shift < 1 || r.shift > 62)
      throw std::invalid_argument(
          fmt::format("launch: a requantisation shift of {} is outside 1 ... 62", r.shift));
  const std::span<std::int8_t> out = impl_->map(launch.output, shape.outputs(), "output");
  std::span<std::int8_t> pooled;
  if (launch.pool) {
    const MaxPool& window = launch.pool->window;
    pooled = impl_->map(launch.pool->result, shape.batch * window.out_h * window.out_w * shape.out_c,
                        "pooled map");
  }
  // First: a layer that the buffer is too small for must change nothing.
  LaunchReport report = impl_->calendar.run(launch);
  impl_->accumulators.resize(static_cast<std::size_t>(shape.outputs()));
  job.accumulators = impl_->accumulators.data();
  report.timing = impl_->compute(launch, job);
  impl_->requantize_all(launch, table, out.data());
  if (launch.pool) impl_->pool_all(shape, launch.pool->window, out, pooled);
  return report;
}

LaunchReport FunctionalAccelerator::launch(const VectorLaunch& launch) {
  check_launch(launch, impl_->chip);
  const std::int64_t values = launch.rows * launch.channels;
  const std::span<const std::int8_t> a = impl_->map(launch.a, values, "first operand");
  const std::span<std::int8_t> out = impl_->map(launch.output, values, "output");
  std::span<const std::int8_t> b;
  if (launch.kind == VectorLaunch::Kind::add) b = impl_->map(launch.b, values, "second operand");
  const LaunchReport report = impl_->calendar.run(launch);  // first, as for layers
  switch (launch.kind) {
    case VectorLaunch::Kind::add:
      residual_add(a, b, launch.add, launch.relu, out);
      break;
    case VectorLaunch::Kind::local_response_norm: {
      const std::int64_t rows = 256, blocks = (launch.rows + rows - 1) / rows;
      impl_->for_each(blocks, [&](std::int64_t block) {
        const auto begin = static_cast<std::size_t>(block * rows * launch.channels);
        const auto count =
            static_cast<std::size_t>(std::min(rows, launch.rows - block * rows) * launch.channels);
        local_response_norm(launch.norm, launch.channels, launch.norm_in_scale, launch.norm_out_scale,
                            a.subspan(begin, count), out.subspan(begin, count));
      });
      break;
    }
  }
  return report;
}

void FunctionalAccelerator::observe_timeline(TimelineSink sink) {
  impl_->calendar.observe(std::move(sink));
}

void FunctionalAccelerator::load_faults(const faults::ArrayFaults& faults) {
  if (impl_->chip.array.bypass == configs::Bypass::none && faults.bypassed_pes() > 0)
    throw std::invalid_argument(
        fmt::format("{} PEs are bypassed, but the chip has no bypass multiplexers", faults.bypassed_pes()));
  impl_->engine.load_faults(faults);
}

void FunctionalAccelerator::load_timing(std::shared_ptr<const faults::ChipTiming> timing) {
  if (timing) check_timing(*timing, impl_->chip.array);
  impl_->late_words.assign(timing ? timing->at_risk.size() : 0, 0);
  impl_->timing = timing && !timing->harmless() ? std::move(timing) : nullptr;
}

std::vector<std::int64_t> FunctionalAccelerator::late_words_by_pe() const {
  return impl_->late_words;
}

const configs::ChipConfig& FunctionalAccelerator::chip() const {
  return impl_->chip;
}

std::uint64_t FunctionalAccelerator::memory_bytes() const {
  return impl_->dram.bytes();
}

}  // namespace kintsugi::array

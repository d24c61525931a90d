#include "training/overclock/twin_accelerator.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "array/requantize.h"

namespace kintsugi::training::overclock {
namespace {

using array::DeviceAddress;
using array::LaunchReport;
using array::LayerLaunch;

std::int64_t output_bytes(const LayerLaunch& launch) {
  return launch.shape.outputs() * (launch.requantization ? 1 : static_cast<int>(sizeof(std::int32_t)));
}

}  // namespace

void WordScale::words(std::span<const std::int32_t> accumulators, std::span<std::int8_t> out) const {
  for (std::size_t i = 0; i < accumulators.size(); ++i) {
    const std::size_t c = i % scale.size();
    const double value = static_cast<double>(accumulators[i]) * scale[c] + bias[c];
    out[i] = static_cast<std::int8_t>(std::clamp(std::nearbyint(value / step), -127.0, 127.0));
  }
}

TwinAccelerator::TwinAccelerator(array::Accelerator& chip, array::Accelerator& error_free)
    : chip_(chip), error_free_(error_free) {}

void TwinAccelerator::run_on(RunOn where, ErrorCounts* counts, const WordScale* words) {
  if (where == RunOn::compare && counts == nullptr)
    throw std::invalid_argument("run_on: comparing needs counts to add to");
  where_ = where;
  counts_ = counts;
  words_ = words;
}

void TwinAccelerator::copy(array::Accelerator& from, array::Accelerator& to, DeviceAddress address,
                           std::int64_t bytes) {
  moved_.resize(static_cast<std::size_t>(bytes));
  from.data_from_device(address, moved_);
  to.data_to_device(address, moved_);
}

void TwinAccelerator::operands_to_twin(const LayerLaunch& launch) {
  copy(chip_, error_free_, launch.activations, launch.shape.activation_bytes());
  copy(chip_, error_free_, launch.weights, launch.shape.weight_bytes());
  if (launch.requantization)
    copy(chip_, error_free_, *launch.requantization,
         launch.shape.out_c * static_cast<std::int64_t>(sizeof(array::Requantization)));
}

LaunchReport TwinAccelerator::launch(const LayerLaunch& launch) {
  if (where_ == RunOn::chip) return chip_.launch(launch);
  operands_to_twin(launch);
  LayerLaunch alone = launch;
  alone.next.reset();  // nothing to fetch ahead for
  if (where_ == RunOn::host) {
    error_free_.launch(alone);
    copy(error_free_, chip_, launch.output, output_bytes(launch));
    if (launch.pool) {
      const array::MaxPool& window = launch.pool->window;
      copy(error_free_, chip_, launch.pool->result,
           launch.shape.batch * window.out_h * window.out_w * launch.shape.out_c);
    }
    return {};
  }
  LaunchReport report = chip_.launch(launch);
  error_free_.launch(alone);
  compare(launch);
  const configs::ArrayConfig& array = chip().array;
  counts_->pe_cycles += (report.cycles - report.breakdown.stalls()) * array.rows * array.cols;
  counts_->timing += report.timing;
  return report;
}

void TwinAccelerator::compare(const LayerLaunch& launch) {
  const auto outputs = static_cast<std::size_t>(launch.shape.outputs());
  const auto read = [&](array::Accelerator& device, std::vector<std::int8_t>& words) {
    words.resize(outputs);
    if (launch.requantization) {
      device.data_from_device(launch.output, std::as_writable_bytes(std::span(words)));
      return;
    }
    if (words_ == nullptr || words_->scale.empty())
      throw std::invalid_argument("launch: int32 results can be compared with a WordScale only");
    accumulators_.resize(outputs);
    device.data_from_device(launch.output, std::as_writable_bytes(std::span(accumulators_)));
    words_->words(accumulators_, words);
  };
  read(chip_, erring_);
  read(error_free_, right_);
  count_classes(erring_, right_, *counts_);
}

LaunchReport TwinAccelerator::launch(const array::VectorLaunch& launch) {
  return chip_.launch(launch);
}

void TwinAccelerator::data_to_device(DeviceAddress address, std::span<const std::byte> data) {
  chip_.data_to_device(address, data);
}
void TwinAccelerator::data_from_device(DeviceAddress address, std::span<std::byte> data) {
  chip_.data_from_device(address, data);
}
void TwinAccelerator::float_to_int(std::span<const float> values, float scale, std::span<std::int8_t> out) {
  chip_.float_to_int(values, scale, out);
}
void TwinAccelerator::int_to_float(std::span<const std::int32_t> accumulators, std::span<const float> scales,
                                   std::span<float> out) {
  chip_.int_to_float(accumulators, scales, out);
}
void TwinAccelerator::layout_reorder(std::span<const std::int8_t> nchw, std::int64_t batch,
                                     std::int64_t channels, std::int64_t pixels,
                                     std::span<std::int8_t> nhwc) {
  chip_.layout_reorder(nchw, batch, channels, pixels, nhwc);
}
void TwinAccelerator::layout_recover(std::span<const std::int8_t> nhwc, std::int64_t batch,
                                     std::int64_t channels, std::int64_t pixels,
                                     std::span<std::int8_t> nchw) {
  chip_.layout_recover(nhwc, batch, channels, pixels, nchw);
}
void TwinAccelerator::load_faults(const faults::ArrayFaults& faults) {
  chip_.load_faults(faults);
}
void TwinAccelerator::load_timing(std::shared_ptr<const faults::ChipTiming> timing) {
  chip_.load_timing(std::move(timing));
}
std::vector<std::int64_t> TwinAccelerator::late_words_by_pe() const {
  return chip_.late_words_by_pe();
}
const configs::ChipConfig& TwinAccelerator::chip() const {
  return chip_.chip();
}
std::uint64_t TwinAccelerator::memory_bytes() const {
  return std::min(chip_.memory_bytes(), error_free_.memory_bytes());
}
void TwinAccelerator::observe_timeline(array::TimelineSink sink) {
  chip_.observe_timeline(std::move(sink));
}

}  // namespace kintsugi::training::overclock

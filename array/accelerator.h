// What a host can ask of an accelerator: the seven calls of the on-accelerator-training study (Xu et al.,
// ASAP 2019), plus loading a chip's faults. Trainer and planner talk to this interface only, so that real
// hardware or another simulator can stand behind it.
//
// The study's names -> ours: LaunchAccelerator launch, DataToFPGA data_to_device, DataFromFPGA
// data_from_device, ConverIntToFloat int_to_float, ConverFloatToInt float_to_int, DataLayoutReorder
// layout_reorder, DataLayoutRecover layout_recover.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "array/layer_shape.h"
#include "faults/array_faults.h"

namespace kintsugi::array {

using DeviceAddress = std::uint64_t;

// One layer. Every intermediate result is in device memory at `output` afterwards: int32 accumulators
// (M×out_c), or int8 (M×out_c) if `requantization` gives the address of out_c Requantization records.
struct LayerLaunch {
  LayerShape shape;
  DeviceAddress activations = 0;
  DeviceAddress weights = 0;
  DeviceAddress output = 0;
  std::optional<DeviceAddress> requantization;
  bool relu = false;  // with requantization only
};

// Throws std::invalid_argument where a launch asks for what no device does: sizes that make no layer, ReLU
// without requantisation, or an output that overlaps what the layer reads. (When results reach memory, and so
// what the rest of the layer would read then, is not the same on all devices.)
void check_launch(const LayerLaunch& launch);

struct LaunchReport {
  std::int64_t cycles = 0;
  std::int64_t stall_cycles = 0;  // 0 with ideal memory
};

class Accelerator {
 public:
  virtual ~Accelerator() = default;

  // Addresses count bytes from 0. Out-of-range accesses throw std::out_of_range naming address and length.
  virtual void data_to_device(DeviceAddress address, std::span<const std::byte> data) = 0;
  virtual void data_from_device(DeviceAddress address, std::span<std::byte> data) = 0;
  virtual LaunchReport launch(const LayerLaunch& launch) = 0;

  // q = clamp(round-to-nearest-even(x / scale), −127, 127).
  virtual void float_to_int(std::span<const float> values, float scale, std::span<std::int8_t> out);
  // out[m, c] = accumulators[m, c] · scales[c]; channels = scales.size().
  virtual void int_to_float(std::span<const std::int32_t> accumulators, std::span<const float> scales,
                            std::span<float> out);
  // N, C, H, W  ->  N, H, W, C, the device's order.
  virtual void layout_reorder(std::span<const std::int8_t> nchw, std::int64_t batch, std::int64_t channels,
                              std::int64_t pixels, std::span<std::int8_t> nhwc);
  // N, H, W, C  ->  N, C, H, W.
  virtual void layout_recover(std::span<const std::int8_t> nhwc, std::int64_t batch, std::int64_t channels,
                              std::int64_t pixels, std::span<std::int8_t> nchw);

  // Loads a chip's physical faults and bypass bits.
  virtual void load_faults(const faults::ArrayFaults& faults) = 0;

  virtual const configs::ChipConfig& chip() const = 0;
  virtual std::uint64_t memory_bytes() const = 0;
};

template <class T>
std::span<const std::byte> as_device_bytes(std::span<T> data) {
  return std::as_bytes(data);
}

}  // namespace kintsugi::array

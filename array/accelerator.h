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
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "array/activation_unit.h"
#include "array/layer_cost.h"
#include "array/layer_shape.h"
#include "faults/array_faults.h"
#include "faults/chip_timing.h"

namespace kintsugi::array {

using DeviceAddress = std::uint64_t;

// The unified buffer of a chip with a memory system is device memory too, from here on. What lies there costs
// no DRAM traffic.
inline constexpr DeviceAddress kBufferBase = DeviceAddress{1} << 44;

// The activation unit also pools: the pooled map (int8, N, H, W, C) goes to `result`.
struct PoolLaunch {
  MaxPool window;
  DeviceAddress result = 0;
};

// The layer that will be launched next: a chip with `layer_overlap` begins to fetch its weights.
struct NextWeights {
  LayerShape shape;
  DeviceAddress weights = 0;
};

// One layer. Every intermediate result is in device memory at `output` afterwards: int32 accumulators
// (M×out_c), or int8 (M×out_c) if `requantization` gives the address of out_c Requantization records. With
// `pool`, `output` (which must not be in the unified buffer) still receives the map before pooling, for the
// host to look at; that costs no time and no traffic, since the chip itself would keep the pooled map only.
struct LayerLaunch {
  LayerShape shape;
  DeviceAddress activations = 0;
  DeviceAddress weights = 0;
  DeviceAddress output = 0;
  std::optional<DeviceAddress> requantization = std::nullopt;
  bool relu = false;                              // with requantization only
  std::optional<PoolLaunch> pool = std::nullopt;  // with requantization only
  // Working space in the unified buffer, for operands and results whose home is DRAM: bytes from
  // kBufferBase + buffer_offset on; 0 bytes: all the rest of the buffer. Must not hold anything else.
  std::uint64_t buffer_offset = 0;
  std::uint64_t buffer_bytes = 0;
  std::optional<NextWeights> next = std::nullopt;
};

// One pass of the activation unit without the array: a residual add of maps `a` and `b`, or local response
// normalisation of map `a`. Maps are rows × channels int8 (N, H, W, C).
struct VectorLaunch {
  enum class Kind { add, local_response_norm };
  Kind kind = Kind::add;
  std::int64_t rows = 0, channels = 0;
  DeviceAddress a = 0, b = 0, output = 0;
  ResidualAdd add;
  bool relu = false;  // of an add
  LocalResponseNorm norm;
  double norm_in_scale = 1, norm_out_scale = 1;
  // Working space as in LayerLaunch, used if a map's home is DRAM: must hold one map.
  std::uint64_t buffer_offset = 0;
  std::uint64_t buffer_bytes = 0;
};

// Throws std::invalid_argument where a launch asks for what no device does: sizes that make no layer or map,
// numbers out of range, ReLU or pooling without requantisation, an output that overlaps what is read or what
// else is written (an add's output may be one of its operands), weights or a requantisation table in the
// unified buffer, an operand in the working space. (When results reach memory, and so what the rest of the
// layer would read then, is not the same on all devices.) Throws std::out_of_range for what leaves the
// unified buffer, or is there on a chip that has none.
void check_launch(const LayerLaunch& launch, const configs::ChipConfig& chip);
void check_launch(const VectorLaunch& launch, const configs::ChipConfig& chip);

// What timing errors did in a launch.
struct TimingCounts {
  std::int64_t late_words = 0;        // PE cycles, idle ones included, whose adder captured a wrong word
  std::int64_t dropped_products = 0;  // by Mitigation::te_drop
  std::int64_t flipped_bits = 0;      // random ones
  TimingCounts& operator+=(const TimingCounts& other) {
    late_words += other.late_words;
    dropped_products += other.dropped_products;
    flipped_bits += other.flipped_bits;
    return *this;
  }
  friend bool operator==(const TimingCounts&, const TimingCounts&) = default;
};

struct LaunchReport {
  std::int64_t cycles = 0;
  CycleBreakdown breakdown;  // adds up to `cycles`
  Traffic traffic;
  TimingCounts timing;
};

class Accelerator {
 public:
  virtual ~Accelerator() = default;

  // Addresses count bytes from 0. Out-of-range accesses throw std::out_of_range naming address and length.
  virtual void data_to_device(DeviceAddress address, std::span<const std::byte> data) = 0;
  virtual void data_from_device(DeviceAddress address, std::span<std::byte> data) = 0;
  // Throws common::InputError if the unified buffer cannot hold what the layer needs at once.
  virtual LaunchReport launch(const LayerLaunch& launch) = 0;
  // With ideal memory it takes no cycles.
  virtual LaunchReport launch(const VectorLaunch& launch) = 0;

  // The conversions and changes of layout do not touch the device: several threads may call them at once.
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

  // Timing errors in every launch from now on; null: none. What stands here is for devices that have none:
  // throws std::logic_error for timing that is not harmless. Others throw std::invalid_argument if its size
  // or its model's accumulator_bits are not the array's.
  virtual void load_timing(std::shared_ptr<const faults::ChipTiming> timing);
  // Since load_timing, by PE of its at_risk: cycles whose adder captured a wrong word, idle ones included.
  virtual std::vector<std::int64_t> late_words_by_pe() const { return {}; }

  virtual const configs::ChipConfig& chip() const = 0;
  virtual std::uint64_t memory_bytes() const = 0;
  // Of the unified buffer; 0 with ideal memory.
  std::uint64_t buffer_bytes() const {
    return chip().memory ? static_cast<std::uint64_t>(chip().memory->unified_buffer.bytes) : 0;
  }

  // Every launch from now on tells `sink` what happened when, if the chip has a memory system.
  virtual void observe_timeline(TimelineSink sink) = 0;
};

template <class T>
std::span<const std::byte> as_device_bytes(std::span<T> data) {
  return std::as_bytes(data);
}

}  // namespace kintsugi::array

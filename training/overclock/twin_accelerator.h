// A chip that errs, and beside it one that does not: the accelerator that overclocking studies run networks
// on.
//
// Layer by layer it can be asked to stand in for the host, which computes a protected layer as the chip would
// without errors, or to count the errors of a layer by running it on both from the same operands.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "array/accelerator.h"
#include "training/overclock/error_classes.h"

namespace kintsugi::training::overclock {

// chip: the erring one alone. host: the other one, on the erring one's memory; costs no cycles of the chip.
// compare: the erring one, and the other one for comparison.
enum class RunOn { chip, host, compare };

// int32 results as int8 words, for comparison: clamp(round((acc · scale[c] + bias[c]) / step), ±127).
struct WordScale {
  std::vector<float> scale, bias;
  double step = 1;
  void words(std::span<const std::int32_t> accumulators, std::span<std::int8_t> out) const;
};

class TwinAccelerator final : public array::Accelerator {
 public:
  // Both must outlive this; of the same description, the second without errors. Device memory is the chip's.
  TwinAccelerator(array::Accelerator& chip, array::Accelerator& error_free);

  // Of the layers launched from here on. `counts` (for compare only) must outlive them; `words` is needed for
  // comparing launches without requantisation (std::invalid_argument).
  void run_on(RunOn where, ErrorCounts* counts = nullptr, const WordScale* words = nullptr);

  void data_to_device(array::DeviceAddress address, std::span<const std::byte> data) override;
  void data_from_device(array::DeviceAddress address, std::span<std::byte> data) override;
  array::LaunchReport launch(const array::LayerLaunch& launch) override;
  array::LaunchReport launch(const array::VectorLaunch& launch) override;
  void float_to_int(std::span<const float> values, float scale, std::span<std::int8_t> out) override;
  void int_to_float(std::span<const std::int32_t> accumulators, std::span<const float> scales,
                    std::span<float> out) override;
  void layout_reorder(std::span<const std::int8_t> nchw, std::int64_t batch, std::int64_t channels,
                      std::int64_t pixels, std::span<std::int8_t> nhwc) override;
  void layout_recover(std::span<const std::int8_t> nhwc, std::int64_t batch, std::int64_t channels,
                      std::int64_t pixels, std::span<std::int8_t> nchw) override;
  // Into the chip alone.
  void load_faults(const faults::ArrayFaults& faults) override;
  void load_timing(std::shared_ptr<const faults::ChipTiming> timing) override;
  std::vector<std::int64_t> late_words_by_pe() const override;
  const configs::ChipConfig& chip() const override;
  std::uint64_t memory_bytes() const override;
  void observe_timeline(array::TimelineSink sink) override;

 private:
  void copy(array::Accelerator& from, array::Accelerator& to, array::DeviceAddress address,
            std::int64_t bytes);
  void operands_to_twin(const array::LayerLaunch& launch);
  void compare(const array::LayerLaunch& launch);

  array::Accelerator& chip_;
  array::Accelerator& error_free_;
  RunOn where_ = RunOn::chip;
  ErrorCounts* counts_ = nullptr;
  const WordScale* words_ = nullptr;
  std::vector<std::byte> moved_;
  std::vector<std::int8_t> erring_, right_;
  std::vector<std::int32_t> accumulators_;
};

}  // namespace kintsugi::training::overclock

// The functional engine behind the Accelerator interface without SystemC: training and campaigns use it.
// The same bits and cycles as the TLM platform at any fidelity.
#pragma once

#include <memory>
#include <vector>

#include "array/accelerator.h"
#include "array/functional_engine.h"

namespace kintsugi::array {

class FunctionalAccelerator final : public Accelerator {
 public:
  // Device memory is reserved, not touched, until used. `pool` may be null.
  explicit FunctionalAccelerator(const configs::ChipConfig& chip, common::ThreadPool* pool = nullptr,
                                 std::uint64_t memory_bytes = std::uint64_t{4} << 30);
  ~FunctionalAccelerator() override;

  void data_to_device(DeviceAddress address, std::span<const std::byte> data) override;
  void data_from_device(DeviceAddress address, std::span<std::byte> data) override;
  LaunchReport launch(const LayerLaunch& launch) override;
  LaunchReport launch(const VectorLaunch& launch) override;
  void load_faults(const faults::ArrayFaults& faults) override;
  void load_timing(std::shared_ptr<const faults::ChipTiming> timing) override;
  std::vector<std::int64_t> late_words_by_pe() const override;
  const configs::ChipConfig& chip() const override;
  std::uint64_t memory_bytes() const override;
  void observe_timeline(TimelineSink sink) override;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace kintsugi::array

// Loads a chip's timing errors into a run's device, and watches what they do: which PEs are late, and, if
// asked, which outputs are wrong.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "array/functional_accelerator.h"
#include "faults/chip_speed.h"
#include "sim/execution.h"

namespace kintsugi::sim {

class TimingWatch {
 public:
  // Loads permanent faults and, on a chip with timing, its errors at the configured operating point. `device`
  // and `pool` must outlive this. Throws common::InputError for what the chip's timing section asks for.
  TimingWatch(array::Accelerator& device, const ExecutionRequest& request, const faults::ArrayFaults& faults,
              common::ThreadPool& pool);
  TimingWatch(const TimingWatch&) = delete;
  TimingWatch& operator=(const TimingWatch&) = delete;

  // `hooks`, which may be empty, and those by which outputs are compared: every launch runs once more, from
  // the same operands, on a chip with the same permanent faults that is never late. This must outlive them.
  workloads::LayerHooks hooks(workloads::LayerHooks hooks);
  // Fills in what timing errors did. The result's layers must be there.
  void finish(ExecutionResult& result) const;

 private:
  void copy(array::DeviceAddress address, std::int64_t bytes);
  void compare(const array::LayerLaunch& launch);
  template <class Word>
  void count(const array::LayerLaunch& launch);

  array::Accelerator& device_;
  bool compares_;
  std::optional<faults::ChipSpeed> speed_;
  std::shared_ptr<const faults::ChipTiming> timing_;
  std::unique_ptr<array::FunctionalAccelerator> error_free_;  // if there is something to compare
  std::string layer_;                                         // that runs
  std::map<std::string, workloads::OutputErrors> errors_;     // by layer
  std::vector<std::byte> moved_;
};

}  // namespace kintsugi::sim

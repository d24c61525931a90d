// Which results of a network stay in the chip's unified buffer, and what is left of it for the layer that
// runs. Pure: sizes in, offsets out.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "configs/chip.h"
#include "workloads/network.h"

namespace kintsugi::workloads {

// Something that would like to stay in a buffer, from step `first` to step `last`, both included.
struct BufferTenant {
  std::int64_t bytes = 0;
  std::size_t first = 0, last = 0;
};

struct BufferSpace {
  std::uint64_t offset = 0, bytes = 0;
  friend bool operator==(const BufferSpace&, const BufferSpace&) = default;
};

struct BufferPlan {
  std::vector<std::optional<std::uint64_t>>
      homes;                      // of the tenants: offset, a multiple of 64; none: no place
  std::vector<BufferSpace> free;  // per step: the largest gap while it runs
};

// Bytes that a step needs at once, given the homes chosen so far.
using StepNeed = std::function<std::int64_t(std::size_t step, const BufferPlan& plan)>;

// Tenants take places in their order, each the lowest that is free while it stays and leaves, in every one of
// its steps, one gap of at least a quarter of the buffer and of what the step needs. (A need above `capacity`
// cannot be met by leaving tenants out, so it keeps none out.)
BufferPlan plan_buffer(std::span<const BufferTenant> tenants, std::size_t steps, std::uint64_t capacity,
                       const StepNeed& need);

struct MemoryPlan {
  // Per stage: offset of its result in the unified buffer; none: its home is DRAM.
  std::vector<std::optional<std::uint64_t>> homes;
  std::vector<BufferSpace> work;  // per stage: its working space in the unified buffer
};

// For batches of at most `batch` images. A result stays on the chip if it is made there, every reader takes
// it there, and the host has nothing to do to it (reorder for a flatten, global average, max-pool behind an
// add or a normalisation); it must be int8 and not the network's output. Images stand in DRAM. With ideal
// memory nothing has a home in a buffer.
MemoryPlan plan_memory(const Network& network, std::int64_t batch, const configs::ChipConfig& chip);

// The host reworks what the stage leaves, before others read it.
bool host_reworks(const Stage& stage);
// Readers see the map as one vector, in the order C, H, W, which is another order than the device's.
bool host_reorders(const Stage& stage);

}  // namespace kintsugi::workloads

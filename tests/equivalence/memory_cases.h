// Random chips with a memory system and sequences of launches on them, fixed by a number, with what memory
// must hold after every launch (computed naively).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "array/accelerator.h"
#include "configs/chip.h"
#include "faults/array_faults.h"

namespace kintsugi::test {

struct MemoryStep {
  std::variant<array::LayerLaunch, array::VectorLaunch> launch;
  // What the launch writes: `bytes` from `address` on.
  struct Result {
    array::DeviceAddress address = 0;
    std::vector<std::byte> bytes;
  };
  std::vector<Result> results;
};

struct MemoryCase {
  configs::ChipConfig chip;
  faults::ArrayFaults faults;
  std::vector<std::byte> dram;    // before the first launch, from address 0
  std::vector<std::byte> buffer;  // of the unified buffer, where maps are kept
  std::vector<MemoryStep> steps;
  std::string text;  // for a failure's message
};

MemoryCase memory_case(std::uint64_t number);
// Fills in the results of all steps.
void add_results(MemoryCase& c);

}  // namespace kintsugi::test

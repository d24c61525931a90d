// Cycles of PEs gathered for one call of a timing model.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "faults/chip_timing.h"

namespace kintsugi::array {

// All of one length, but for `keys`, which may stay empty where the model needs none.
struct PeCycleBatch {
  std::vector<std::int8_t> activation_before, activation, weight_before, weight;
  std::vector<std::int32_t> psum_before, psum;
  std::vector<std::uint64_t> keys;

  std::size_t size() const { return activation.size(); }
  void clear() {
    activation_before.clear();
    activation.clear();
    weight_before.clear();
    weight.clear();
    psum_before.clear();
    psum.clear();
    keys.clear();
  }
  // Valid until the batch changes.
  faults::PeCycles cycles() const {
    return {size(),        activation_before.data(), activation.data(), weight_before.data(),
            weight.data(), psum_before.data(),       psum.data(),       keys.empty() ? nullptr : keys.data()};
  }
};

}  // namespace kintsugi::array

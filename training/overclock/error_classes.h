// How a chip errs on a layer: its integer outputs beside those of a chip without errors, in the classes of
// Xu et al. (ASAP 2019), and the decisions that follow from them.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "array/accelerator.h"

namespace kintsugi::training::overclock {

// |Δ| above this is a large error.
inline constexpr int kSmallError = 5;

// Of one layer on the same operands with and without errors. Words are int8 outputs as they lie in device
// memory (requantised, after ReLU, before pooling).
struct ErrorCounts {
  std::int64_t right = 0;      // Δ = 0
  std::int64_t small = 0;      // |Δ| = 1 … 5
  std::int64_t large = 0;      // |Δ| > 5
  std::int64_t pe_cycles = 0;  // clocked cycles × PEs of the erring chip
  array::TimingCounts timing;  // what happened in them

  std::int64_t outputs() const { return right + small + large; }
  double large_share() const { return share(large); }
  double wrong_share() const { return share(small + large); }
  // Words captured wrongly by an adder's flip-flops, over all PE cycles.
  double word_error_rate() const {
    return pe_cycles > 0 ? static_cast<double>(timing.late_words) / static_cast<double>(pe_cycles) : 0;
  }
  double share(std::int64_t part) const {
    return outputs() > 0 ? static_cast<double>(part) / static_cast<double>(outputs()) : 0;
  }
  ErrorCounts& operator+=(const ErrorCounts& other);
  friend bool operator==(const ErrorCounts&, const ErrorCounts&) = default;
};

// Adds the classes of erring[i] − right[i]. Throws std::invalid_argument if the lengths differ.
void count_classes(std::span<const std::int8_t> erring, std::span<const std::int8_t> right,
                   ErrorCounts& counts);

// The layer with the largest share of large errors, the later one of equals. None where no output is wrong:
// with small errors only all shares are 0, and the last layer is taken. Layers without outputs (the host's)
// are left out.
std::optional<std::size_t> critical_layer(std::span<const ErrorCounts> layers);

// Sweeps go from mild to harsh. The first point whose accuracy is more than `drop` below `baseline`.
std::optional<std::size_t> tipping_point(std::span<const double> accuracy, double baseline, double drop);
// The last point up to which, itself included, no accuracy is more than `drop` below `baseline`.
std::optional<std::size_t> last_acceptable(std::span<const double> accuracy, double baseline, double drop);

}  // namespace kintsugi::training::overclock

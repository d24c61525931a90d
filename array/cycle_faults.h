// A chip's faults and bypass bits as array/cycle_kernel.h wants them: tables of masks for the rows of strips
// that have any, and what a weight becomes on its way into use.
//
// With a bypass, product and sum are not seen, so such a PE is one with weight zero whose multiplier and
// adder are sound. Per bit, a hook keeps, clears, sets or inverts, and so do several in a row: (x & keep) ^
// flip says it all.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "array/aligned.h"
#include "array/cycle_kernel.h"
#include "faults/array_faults.h"

namespace kintsugi::array {

class CycleFaults {
 public:
  CycleFaults() = default;
  // For this kernel's strips, in the form that it wants.
  CycleFaults(const faults::ArrayFaults& faults, const CycleKernel& kernel);

  const std::uint8_t* kinds(int strip) const { return kinds_.data() + strip * rows_; }
  const RowHooks* hooks(int strip) const { return hooks_.data() + strip * rows_; }
  HookTables tables(int strip) const {
    return {sums_.data(), products_.data(), packed_.data(),
            activations_.data() + kMaxWidth + static_cast<std::size_t>(strip) * kernel_.width,
            activation_pitch_};
  }

  // What PE (r, c) multiplies by if `weight` is written to its register.
  std::int8_t effective(std::size_t place, std::int8_t weight) const {
    return static_cast<std::int8_t>((weight & weight_keep_[place]) ^ weight_flip_[place]);
  }

 private:
  void add_row(const faults::FaultyPe* begin, const faults::FaultyPe* end, const faults::ArrayFaults& faults);
  void pack();

  std::size_t rows_ = 0;
  CycleKernel kernel_;
  std::vector<std::uint8_t> kinds_;
  std::vector<RowHooks> hooks_;
  AlignedVector<std::int32_t> sums_;
  AlignedVector<std::int16_t> products_;
  AlignedVector<std::int8_t> activations_;
  std::size_t activation_pitch_ = 0;
  AlignedVector<std::uint32_t> packed_;
  std::vector<std::int8_t> weight_keep_, weight_flip_;  // in the order of the strips' weights
};

}  // namespace kintsugi::array

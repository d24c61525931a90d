// Random bit errors, drawn: which bits of a run of values flip at a given rate.
//
// The distance from one flipped bit to the next is geometric, so drawing costs what flips, not what might:
// a rate of 1e-9 over a layer's operands is a handful of numbers. Xu et al. (ASAP 2019) inject this way.
#pragma once

#include <cstdint>
#include <vector>

#include "common/random.h"

namespace kintsugi::faults {

// Flipped bits among bits 0, 1, 2 …, in their order. Each flips with probability `rate` (0 … 1).
class FlippedBits {
 public:
  FlippedBits(double rate, common::RandomStream random);

  // The next flipped bit; a number beyond every bit there is if there is none.
  std::int64_t next() const { return next_; }
  void advance();

 private:
  void skip();

  common::RandomStream random_;
  double log_of_keeping_;  // log(1 − rate)
  bool never_;
  std::int64_t next_ = -1;
};

// A value whose bits in `mask` flip.
struct FlippedValue {
  std::int64_t index = 0;
  std::uint32_t mask = 0;
  friend bool operator==(const FlippedValue&, const FlippedValue&) = default;
};

// Among `values` values of `bits` bits each (1 … 32), by index.
std::vector<FlippedValue> flipped_values(double rate, std::int64_t values, int bits,
                                         common::RandomStream random);

// How many bits flip in them.
std::int64_t flipped_bits(const std::vector<FlippedValue>& values);

}  // namespace kintsugi::faults

#include "faults/random_errors.h"

#include <bit>
#include <cmath>
#include <limits>
#include <utility>

namespace kintsugi::faults {

namespace {

constexpr std::int64_t kNever = std::numeric_limits<std::int64_t>::max();

}  // namespace

FlippedBits::FlippedBits(double rate, common::RandomStream random)
    : random_(std::move(random)), log_of_keeping_(std::log1p(-rate)), never_(!(rate > 0)) {
  skip();
}

void FlippedBits::advance() {
  if (next_ != kNever) skip();
}

// P(gap ≥ g) = (1 − rate)^g. At rate 1 the logarithm is −∞ and every gap 0.
void FlippedBits::skip() {
  const double gap = never_ ? HUGE_VAL : std::floor(std::log1p(-random_.uniform()) / log_of_keeping_);
  next_ = gap < 0x1.0p62 && next_ < kNever / 2 ? next_ + 1 + static_cast<std::int64_t>(gap) : kNever;
}

std::vector<FlippedValue> flipped_values(double rate, std::int64_t values, int bits,
                                         common::RandomStream random) {
  std::vector<FlippedValue> found;
  for (FlippedBits flipped(rate, std::move(random)); flipped.next() < values * bits; flipped.advance()) {
    const std::int64_t index = flipped.next() / bits;
    if (found.empty() || found.back().index != index) found.push_back({index, 0});
    found.back().mask |= std::uint32_t{1} << flipped.next() % bits;
  }
  return found;
}

std::int64_t flipped_bits(const std::vector<FlippedValue>& values) {
  std::int64_t bits = 0;
  for (const FlippedValue& value : values) bits += std::popcount(value.mask);
  return bits;
}

}  // namespace kintsugi::faults

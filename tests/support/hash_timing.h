// A timing model for tests that misses nothing: whether and how a PE errs hangs on every bit of what it is
// told.
#pragma once

#include <cstdint>

#include "faults/chip_timing.h"

namespace kintsugi::test {

class HashTiming final : public faults::TimingModel {
 public:
  struct Options {
    int accumulator_bits = 32;
    std::uint64_t one_in = 3;       // a cycle errs
    bool settled = false;           // equal inputs can err
    bool keyed = false;             // looks at the cycle's key and the job's
    bool psum_change_only = false;  // errs only if psum_in changes and nothing else does
  };
  explicit HashTiming(const Options& options) : options_(options) {}

  void evaluate(int bin, std::uint64_t job_key, const faults::PeCycles& cycles,
                std::uint32_t* errors) const override {
    for (std::size_t i = 0; i < cycles.count; ++i) {
      const std::uint64_t before =
          word(cycles.activation_before[i], cycles.weight_before[i], cycles.psum_before[i]);
      const std::uint64_t now = word(cycles.activation[i], cycles.weight[i], cycles.psum[i]);
      errors[i] = 0;
      if (before == now && !options_.settled) continue;
      if (options_.psum_change_only && (before >> 32 != now >> 32 || before == now)) continue;
      std::uint64_t x = mix(before + 0x1234567u * static_cast<std::uint64_t>(bin + 1));
      x = mix(x ^ now);
      if (options_.keyed) x = mix(x ^ job_key ^ cycles.key[i]);
      if (x % options_.one_in != 0) continue;
      const std::uint32_t mask = options_.accumulator_bits == 32
                                     ? ~std::uint32_t{0}
                                     : (std::uint32_t{1} << options_.accumulator_bits) - 1;
      errors[i] = static_cast<std::uint32_t>(x >> 32) & mask;
    }
  }
  bool settled_can_err() const override { return options_.settled; }
  bool needs_keys() const override { return options_.keyed; }
  int accumulator_bits() const override { return options_.accumulator_bits; }

 private:
  static std::uint64_t word(std::int8_t a, std::int8_t w, std::int32_t p) {
    return static_cast<std::uint64_t>(static_cast<std::uint8_t>(a)) << 40 |
           static_cast<std::uint64_t>(static_cast<std::uint8_t>(w)) << 32 | static_cast<std::uint32_t>(p);
  }
  static std::uint64_t mix(std::uint64_t x) {
    x = (x ^ x >> 33) * 0xff51afd7ed558ccdu;
    x = (x ^ x >> 33) * 0xc4ceb9fe1a85ec53u;
    return x ^ x >> 33;
  }

  Options options_;
};

}  // namespace kintsugi::test

// Random numbers from named streams: a stream is fixed by (seed, purpose, index) and nothing else, so a
// result never depends on which other streams were drawn from, or in what order.
//
// Integers and uniform reals are the same on every machine; `normal` uses the platform's log and cos.
#pragma once

#include <cstdint>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace kintsugi::common {

class RandomStream {
 public:
  RandomStream(std::uint64_t seed, std::string_view purpose, std::uint64_t index = 0);

  std::uint64_t next() { return engine_(); }
  // Uniform in [0, 1), 53 bits.
  double uniform() { return static_cast<double>(next() >> 11) * 0x1.0p-53; }
  double uniform(double low, double high) { return low + (high - low) * uniform(); }
  // Uniform in 0 … n−1 without modulo bias; n ≥ 1.
  std::uint64_t below(std::uint64_t n);
  // Normal with mean 0 and standard deviation 1.
  double normal();
  // Gamma with the given shape (> 0) and scale 1.
  double gamma(double shape);

  template <class T>
  void shuffle(std::span<T> values) {
    for (std::size_t i = values.size(); i > 1; --i) std::swap(values[i - 1], values[below(i)]);
  }

  // Checkpointing: the generator's whole state as text.
  std::string save() const;
  void restore(const std::string& state);

 private:
  std::mt19937_64 engine_;
};

}  // namespace kintsugi::common

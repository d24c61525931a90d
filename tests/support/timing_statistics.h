// Streams of operands for timing tests, and how errors are judged: not word for word (a few per cent on a
// gate's delay change half of the wrong words) but by their rates.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <span>
#include <vector>

#include "common/random.h"
#include "faults/chip_timing.h"
#include "tests/support/gate_simulator.h"

namespace kintsugi::test {

// A row of a layer after ReLU: half of the activations zero, small weights that stay for `segment` cycles,
// psums as they come down a column of 0 … 255 PEs.
inline OperandStream dnn_stream(std::uint64_t seed, std::size_t size, std::size_t segment = 256) {
  common::RandomStream random(seed, "dnn stream");
  OperandStream stream;
  for (std::size_t begin = 0; begin < size; begin += segment) {
    std::vector<int> weights(random.below(256) + 1);
    for (int& w : weights) w = static_cast<int>(std::clamp(std::round(20 * random.normal()), -127.0, 127.0));
    for (std::size_t i = begin; i < std::min(begin + segment, size); ++i) {
      std::int32_t psum = 0;
      int activation = 0;
      for (std::size_t r = 0; r < weights.size(); ++r) {
        activation = random.uniform() < 0.5
                         ? 0
                         : static_cast<int>(std::min(std::round(std::abs(40 * random.normal())), 127.0));
        if (r + 1 < weights.size()) psum += activation * weights[r];
      }
      stream.activation.push_back(static_cast<std::int8_t>(activation));
      stream.weight.push_back(static_cast<std::int8_t>(weights.back()));
      stream.psum.push_back(psum);
    }
  }
  return stream;
}

// Every bit of every operand at random; weights stay for `segment` cycles.
inline OperandStream uniform_stream(std::uint64_t seed, std::size_t size, std::size_t segment = 64) {
  common::RandomStream random(seed, "uniform stream");
  OperandStream stream;
  for (std::size_t i = 0; i < size; ++i) {
    const std::uint64_t word = random.next();
    stream.activation.push_back(static_cast<std::int8_t>(word));
    stream.weight.push_back(i % segment == 0 ? static_cast<std::int8_t>(word >> 8) : stream.weight.back());
    stream.psum.push_back(static_cast<std::int32_t>(word >> 16));
  }
  return stream;
}

// The model's errors of positions 1 …, each after the one before.
inline std::vector<std::uint32_t> model_errors(const faults::TimingModel& model, int bin,
                                               const OperandStream& stream) {
  std::vector<std::uint32_t> errors(stream.size() - 1);
  const std::vector<std::uint64_t> keys(errors.size(), 0);
  model.evaluate(bin, 0,
                 {errors.size(), stream.activation.data(), stream.activation.data() + 1, stream.weight.data(),
                  stream.weight.data() + 1, stream.psum.data(), stream.psum.data() + 1, keys.data()},
                 errors.data());
  return errors;
}

struct ErrorRates {
  double words = 0;
  std::vector<double> bits = std::vector<double>(32, 0);
};

// measured: 0 leaves a word out; empty: all count.
inline ErrorRates error_rates(std::span<const std::uint32_t> errors, std::span<const char> measured = {}) {
  ErrorRates rates;
  double count = 0;
  for (std::size_t i = 0; i < errors.size(); ++i) {
    if (!measured.empty() && measured[i] == 0) continue;
    ++count;
    rates.words += errors[i] != 0;
    for (std::size_t bit = 0; bit < 32; ++bit) rates.bits[bit] += errors[i] >> bit & 1;
  }
  rates.words /= count;
  for (double& bit : rates.bits) bit /= count;
  return rates;
}

// How near two series of error rates over several periods are.
struct Agreement {
  double mean_error = 0, largest_error = 0;  // of the word error rates
  double largest_ratio = 1;                  // of those, where the first lies in (1e-4, 3e-2)
  double correlation = 0;                    // of the rates per bit and period
};

inline Agreement agreement(const std::vector<ErrorRates>& measured, const std::vector<ErrorRates>& model) {
  Agreement out;
  double n = 0, x = 0, y = 0, xx = 0, yy = 0, xy = 0;
  for (std::size_t p = 0; p < measured.size(); ++p) {
    const double want = measured[p].words, found = model[p].words;
    out.mean_error += std::abs(found - want) / static_cast<double>(measured.size());
    out.largest_error = std::max(out.largest_error, std::abs(found - want));
    if (want > 1e-4 && want < 3e-2)
      out.largest_ratio = std::max({out.largest_ratio, found / want, want / found});
    for (std::size_t bit = 0; bit < 32; ++bit) {
      const double a = measured[p].bits[bit], b = model[p].bits[bit];
      n += 1, x += a, y += b, xx += a * a, yy += b * b, xy += a * b;
    }
  }
  out.correlation = (n * xy - x * y) / std::sqrt((n * xx - x * x) * (n * yy - y * y));
  return out;
}

}  // namespace kintsugi::test

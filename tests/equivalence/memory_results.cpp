// What the launches of a case leave in memory, computed as one would on paper.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <span>

#include "array/requantize.h"
#include "tests/equivalence/memory_cases.h"
#include "tests/support/integer_reference.h"
#include "tests/support/naive_array.h"

namespace kintsugi::test {
namespace {

using array::DeviceAddress;
using array::kBufferBase;
using array::LayerLaunch;
using array::LayerShape;
using array::VectorLaunch;

class Reference {
 public:
  explicit Reference(const MemoryCase& c) : case_(c), dram_(c.dram), buffer_(c.buffer) {}

  std::vector<MemoryStep::Result> results(const LayerLaunch& launch) {
    const LayerShape& s = launch.shape;
    const auto activations = read<std::int8_t>(launch.activations, s.activation_bytes());
    const auto weights = read<std::int8_t>(launch.weights, s.weight_bytes());
    const std::vector<std::int32_t> sums = naive_array(case_.chip.array, case_.chip.convolution, case_.faults,
                                                       s, activations.data(), weights.data());
    std::vector<MemoryStep::Result> all;
    if (!launch.requantization) {
      all.push_back(write(launch.output, sums));
      return all;
    }
    const auto table = read<array::Requantization>(*launch.requantization, s.out_c);
    std::vector<std::int8_t> map;
    for (std::size_t i = 0; i < sums.size(); ++i)
      map.push_back(static_cast<std::int8_t>(
          floor_requantized(sums[i], table[i % static_cast<std::size_t>(s.out_c)], launch.relu)));
    all.push_back(write(launch.output, map));
    if (!launch.pool) return all;
    const array::MaxPool& p = launch.pool->window;
    std::vector<std::int8_t> pooled;
    for (std::int64_t b = 0; b < s.batch; ++b)
      for (std::int64_t py = 0; py < p.out_h; ++py)
        for (std::int64_t px = 0; px < p.out_w; ++px)
          for (std::int64_t c = 0; c < s.out_c; ++c) {
            std::int8_t most = -128;
            for (std::int64_t y = py * p.stride - p.padding; y < py * p.stride - p.padding + p.kernel; ++y)
              for (std::int64_t x = px * p.stride - p.padding; x < px * p.stride - p.padding + p.kernel; ++x)
                if (y >= 0 && x >= 0 && y < s.out_h() && x < s.out_w())
                  most = std::max(
                      most,
                      map[static_cast<std::size_t>(((b * s.out_h() + y) * s.out_w() + x) * s.out_c + c)]);
            pooled.push_back(most);
          }
    all.push_back(write(launch.pool->result, pooled));
    return all;
  }

  std::vector<MemoryStep::Result> results(const VectorLaunch& launch) {
    const std::int64_t count = launch.rows * launch.channels;
    const auto a = read<std::int8_t>(launch.a, count);
    std::vector<std::int8_t> map;
    if (launch.kind == VectorLaunch::Kind::add) {
      const auto b = read<std::int8_t>(launch.b, count);
      for (std::size_t i = 0; i < a.size(); ++i) {
        const array::ResidualAdd& r = launch.add;
        const double sum = static_cast<double>(std::int64_t{a[i]} * r.multiplier_a +
                                               std::int64_t{b[i]} * r.multiplier_b + r.offset);
        map.push_back(static_cast<std::int8_t>(
            std::clamp(std::floor(std::ldexp(sum, -r.shift)), launch.relu ? 0.0 : -127.0, 127.0)));
      }
    } else {
      const array::LocalResponseNorm& norm = launch.norm;
      for (std::int64_t row = 0; row < launch.rows; ++row)
        for (std::int64_t c = 0; c < launch.channels; ++c) {
          double squares = 0;
          for (std::int64_t j = c - norm.size / 2; j <= c + (norm.size - 1) / 2; ++j)
            if (j >= 0 && j < launch.channels)
              squares += std::pow(a[static_cast<std::size_t>(row * launch.channels + j)], 2);
          const double factor = std::pow(norm.k + norm.alpha / static_cast<double>(norm.size) *
                                                      std::pow(launch.norm_in_scale, 2) * squares,
                                         -norm.beta);
          const double x = a[static_cast<std::size_t>(row * launch.channels + c)] * launch.norm_in_scale;
          map.push_back(static_cast<std::int8_t>(
              std::clamp(std::nearbyint(x * factor / launch.norm_out_scale), -127.0, 127.0)));
        }
    }
    return {write(launch.output, map)};
  }

 private:
  std::byte* at(DeviceAddress address) {
    return address >= kBufferBase ? buffer_.data() + (address - kBufferBase) : dram_.data() + address;
  }
  template <class T>
  std::vector<T> read(DeviceAddress address, std::int64_t count) {
    std::vector<T> values(static_cast<std::size_t>(count));
    std::memcpy(values.data(), at(address), values.size() * sizeof(T));
    return values;
  }
  template <class T>
  MemoryStep::Result write(DeviceAddress address, const std::vector<T>& values) {
    const auto bytes = std::as_bytes(std::span(values));
    std::copy(bytes.begin(), bytes.end(), at(address));
    return {address, {bytes.begin(), bytes.end()}};
  }

  const MemoryCase& case_;
  std::vector<std::byte> dram_, buffer_;
};

}  // namespace

void add_results(MemoryCase& c) {
  Reference reference(c);
  for (MemoryStep& step : c.steps)
    step.results = std::visit([&](const auto& launch) { return reference.results(launch); }, step.launch);
}

}  // namespace kintsugi::test

// A dense, row-major tensor that owns its values, and named sets of them.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace kintsugi::workloads {

template <class T>
struct Tensor {
  std::vector<std::int64_t> shape;
  std::vector<T> data;

  Tensor() = default;
  explicit Tensor(std::vector<std::int64_t> s)
      : shape(std::move(s)), data(static_cast<std::size_t>(count())) {}
  Tensor(std::vector<std::int64_t> s, std::vector<T> d) : shape(std::move(s)), data(std::move(d)) {}

  std::int64_t count() const {
    std::int64_t n = 1;
    for (const std::int64_t d : shape) n *= d;
    return n;
  }
  friend bool operator==(const Tensor&, const Tensor&) = default;
};

// Weights by PyTorch state_dict name ("fc1.weight", "bn1.running_mean"), in PyTorch's layouts
// (linear O×I, convolution O×(I/groups)×KH×KW). Ordered by name, so iteration is deterministic.
using Parameters = std::map<std::string, Tensor<float>>;

// 0/1 masks by parameter name, the parameter's shape; 1 keeps the weight.
using Masks = std::map<std::string, Tensor<std::uint8_t>>;

}  // namespace kintsugi::workloads

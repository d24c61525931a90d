// Random layers, chips and fault patterns for tests that hold engines against the naive array. A case is
// fixed by its number, which a failing test prints.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "array/layer_shape.h"
#include "common/random.h"
#include "configs/chip.h"
#include "faults/array_faults.h"

namespace kintsugi::test {

enum class BypassKind { none, all, partial, false_alarms };

struct RandomCase {
  configs::ArrayConfig array;
  configs::ConvolutionMapping mapping = configs::ConvolutionMapping::im2col;
  array::LayerShape shape;
  faults::ArrayFaults faults;
  std::vector<std::int8_t> activations, weights;
  std::string text;  // for a failure's message
};

inline std::vector<std::int8_t> random_int8(common::RandomStream& random, std::int64_t count) {
  std::vector<std::int8_t> values(static_cast<std::size_t>(count));
  for (std::int8_t& v : values) {
    const std::uint64_t kind = random.below(8);
    v = kind == 0   ? std::int8_t{-128}
        : kind == 1 ? std::int8_t{127}
        : kind == 2 ? std::int8_t{0}
                    : static_cast<std::int8_t>(random.below(256));
  }
  return values;
}

// `rate` of the PEs get one to three hooks (stuck bits and, now and then, flips) at sites drawn from `sites`.
inline faults::ArrayFaults random_faults(common::RandomStream& random, int rows, int cols, double rate,
                                         const std::vector<pe::Site>& sites, BypassKind bypass,
                                         int accumulator_bits) {
  faults::ArrayFaults result;
  result.rows = rows;
  result.cols = cols;
  result.bypass.assign(static_cast<std::size_t>(rows) * cols, 0);
  for (int r = 0; r < rows; ++r)
    for (int c = 0; c < cols; ++c) {
      std::uint8_t& bit = result.bypass[static_cast<std::size_t>(r) * cols + c];
      if (bypass == BypassKind::false_alarms && random.uniform() < 0.1) bit = 1;
      if (random.uniform() >= rate) continue;
      faults::FaultyPe faulty;
      faulty.row = r;
      faulty.col = c;
      for (std::uint64_t i = 1 + random.below(3); i > 0; --i) {
        const pe::Site site = sites[random.below(sites.size())];
        const int at = static_cast<int>(random.below(pe::site_bits(site, accumulator_bits)));
        if (random.below(5) == 0)
          faulty.hooks[site].flip |= std::uint32_t{1} << at;
        else
          faulty.hooks[site].stick(at, static_cast<int>(random.below(2)));
      }
      if (faulty.hooks.identity()) continue;  // a stick at 0 and a flip can meet, but never cancel; be safe
      if (bypass == BypassKind::all || bypass == BypassKind::false_alarms) bit = 1;
      if (bypass == BypassKind::partial && random.below(2) == 0) bit = 1;
      result.faulty.push_back(faulty);
    }
  result.named_faulty = static_cast<std::int64_t>(result.faulty.size());
  return result;
}

inline const std::vector<pe::Site>& all_sites() {
  static const std::vector<pe::Site> sites = {pe::Site::weight_register, pe::Site::multiplier,
                                              pe::Site::adder, pe::Site::psum_register,
                                              pe::Site::activation_register};
  return sites;
}

// Arrays of 1×1 to max_side×max_side; M below and above R; K and N below, at and above the array; prime
// sizes; every kind of bypass; both settings of weight_double_buffer; convolutions and groups among the
// GEMMs.
inline RandomCase random_case(std::uint64_t number, int max_side = 32) {
  common::RandomStream random(number, "equivalence-case");
  const auto between = [&](std::int64_t low, std::int64_t high) {
    return low + static_cast<std::int64_t>(random.below(static_cast<std::uint64_t>(high - low + 1)));
  };
  RandomCase result;
  const std::int64_t sides[] = {1, 2, 3, 5, 7, 8, 11, 13, 16, 17, 23, 29, 31, 32};
  const auto side = [&] {
    for (;;)
      if (const std::int64_t s = sides[random.below(std::size(sides))]; s <= max_side)
        return static_cast<int>(s);
  };
  result.array.rows = side();
  result.array.cols = side();
  result.array.weight_double_buffer = random.below(2) == 0;
  const int narrow[] = {16, 17, 20, 24, 31};
  result.array.accumulator_bits = random.below(3) == 0 ? narrow[random.below(std::size(narrow))] : 32;
  result.mapping =
      random.below(2) == 0 ? configs::ConvolutionMapping::im2col : configs::ConvolutionMapping::channel;
  const std::int64_t R = result.array.rows, C = result.array.cols;
  array::LayerShape& s = result.shape;
  if (random.below(3) != 0) {
    const auto about = [&](std::int64_t size) {
      switch (random.below(4)) {
        case 0:
          return between(1, size);
        case 1:
          return size;
        case 2:
          return size + between(1, 3);
        default:
          return between(size, 3 * size + 2);
      }
    };
    s = array::gemm_shape(random.below(2) == 0 ? between(1, R) : between(R, 3 * R + 5), about(R), about(C));
  } else {
    s.groups = random.below(3) == 0 ? between(2, 3) : 1;
    s.batch = between(1, 3);
    s.in_h = between(1, 6);
    s.in_w = between(1, 6);
    s.in_c = s.groups * between(1, 6);
    s.out_c = s.groups * between(1, 12);
    s.padding = between(0, 2);
    s.kernel_h = between(1, std::min<std::int64_t>(3, s.in_h + 2 * s.padding));
    s.kernel_w = between(1, std::min<std::int64_t>(3, s.in_w + 2 * s.padding));
    s.stride = between(1, 2);
  }
  const double rates[] = {0, 0.01, 0.05, 0.3, 1};
  const BypassKind kinds[] = {BypassKind::none, BypassKind::all, BypassKind::partial,
                              BypassKind::false_alarms};
  std::vector<pe::Site> sites = all_sites();
  if (random.below(2) == 0) sites = {sites[random.below(sites.size())]};
  result.faults = random_faults(random, result.array.rows, result.array.cols, rates[random.below(5)], sites,
                                kinds[random.below(4)], result.array.accumulator_bits);
  result.activations = random_int8(random, s.activation_bytes());
  result.weights = random_int8(random, s.weight_bytes());
  result.text = "case " + std::to_string(number) + ": " + std::to_string(R) + "x" + std::to_string(C) +
                " array, " + std::to_string(result.array.accumulator_bits) + " bits, M " +
                std::to_string(s.m()) + ", K " + std::to_string(s.k()) + ", N " + std::to_string(s.n()) +
                ", groups " + std::to_string(s.groups) + ", faulty PEs " +
                std::to_string(result.faults.faulty.size());
  return result;
}

}  // namespace kintsugi::test

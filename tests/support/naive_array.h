// The array as a newcomer would write it after reading the design: every tile, every stream position, every
// row from top to bottom, every column from left to right, one PE at a time. The reference that all engines
// are held against; slow, and sharing nothing with them but the operands' layout.
//
// Two PE arithmetics can be put into it: the project's own (pe/datapath.h), and one written here from the
// design's text with strings of bits, so that a mistake in the project's own is seen too. Tiles are cut here
// by plain loops, not by array::make_tiling.
#pragma once

#include <cstdint>
#include <vector>

#include "array/layer_shape.h"
#include "configs/chip.h"
#include "faults/array_faults.h"
#include "pe/datapath.h"

namespace kintsugi::test {

enum class NaiveArithmetic { datapath, bit_strings };

// A two's-complement number as its bits, lowest first.
inline std::vector<int> to_bits(std::int64_t value, int width) {
  std::vector<int> bits;
  for (int i = 0; i < width; ++i) {
    const std::int64_t bit = ((value % 2) + 2) % 2;
    bits.push_back(static_cast<int>(bit));
    value = (value - bit) / 2;
  }
  return bits;
}

inline std::int64_t from_bits(const std::vector<int>& bits) {
  std::int64_t value = 0, place = 1;
  for (std::size_t i = 0; i < bits.size(); ++i, place *= 2)
    value += (i + 1 == bits.size() ? -place : place) * bits[i];
  return value;
}

inline std::int64_t bit_string_hook(const pe::Hook& hook, std::int64_t value, int width) {
  std::vector<int> bits = to_bits(value, width);
  const std::vector<int> keep = to_bits(hook.keep, width), set = to_bits(hook.set, width),
                         flip = to_bits(hook.flip, width);
  for (int i = 0; i < width; ++i) {
    if (keep[i] == 0) bits[i] = 0;
    if (set[i] == 1) bits[i] = 1;
    if (flip[i] == 1) bits[i] = 1 - bits[i];
  }
  return from_bits(bits);
}

// The design's section 4, line by line.
inline pe::PeOutputs bit_string_pe(const pe::PeHooks& hooks, bool bypass, std::int64_t weight,
                                   std::int64_t act_in, std::int64_t psum_in, int accumulator_bits) {
  using pe::Site;
  const auto hook_at = [&](Site site) { return hooks.at[static_cast<std::size_t>(site)]; };
  const std::int64_t w = bit_string_hook(hook_at(Site::weight_register), weight, 8);
  const std::int64_t product = bit_string_hook(hook_at(Site::multiplier), act_in * w, 16);
  const std::int64_t sum = bit_string_hook(hook_at(Site::adder), psum_in + product, accumulator_bits);
  const std::int64_t psum =
      bit_string_hook(hook_at(Site::psum_register), bypass ? psum_in : sum, accumulator_bits);
  const std::int64_t act = bit_string_hook(hook_at(Site::activation_register), act_in, 8);
  return {static_cast<std::int32_t>(psum), static_cast<std::int32_t>(act)};
}

// What the edge feeds at stream position m for reduction index k of a group: zero outside the image.
inline std::int32_t naive_activation(const array::LayerShape& s, const std::int8_t* activations,
                                     std::int64_t group, std::int64_t m, std::int64_t k) {
  const std::int64_t channels = s.in_c / s.groups;
  const std::int64_t ci = k % channels, kx = k / channels % s.kernel_w, ky = k / channels / s.kernel_w;
  const std::int64_t ox = m % s.out_w(), oy = m / s.out_w() % s.out_h(), b = m / s.out_w() / s.out_h();
  const std::int64_t y = oy * s.stride + ky - s.padding, x = ox * s.stride + kx - s.padding;
  if (y < 0 || y >= s.in_h || x < 0 || x >= s.in_w) return 0;
  return activations[((b * s.in_h + y) * s.in_w + x) * s.in_c + group * channels + ci];
}

// M×out_c accumulators.
inline std::vector<std::int32_t> naive_array(const configs::ArrayConfig& chip,
                                             configs::ConvolutionMapping mapping,
                                             const faults::ArrayFaults& faults, const array::LayerShape& s,
                                             const std::int8_t* activations, const std::int8_t* weights,
                                             NaiveArithmetic arithmetic = NaiveArithmetic::datapath) {
  const std::int64_t K = s.k(), N = s.n(), M = s.m();
  const int R = chip.rows, C = chip.cols;
  std::vector<std::int32_t> accumulators(static_cast<std::size_t>(M * s.out_c), 0);

  std::vector<pe::PeHooks> hooks(static_cast<std::size_t>(R) * C);
  for (const faults::FaultyPe& faulty : faults.faulty) hooks[faulty.row * C + faulty.col] = faulty.hooks;

  // A channel-mapped tile never leaves its (ky, kx), so a row always holds one input channel.
  const std::int64_t run = mapping == configs::ConvolutionMapping::channel ? s.in_c / s.groups : K;
  for (std::int64_t g = 0; g < s.groups; ++g)
    for (std::int64_t n0 = 0; n0 < N; n0 += C)
      for (std::int64_t run0 = 0; run0 < K; run0 += run)
        for (std::int64_t k0 = run0; k0 < run0 + run; k0 += R)
          for (std::int64_t m = 0; m < M; ++m) {
            std::vector<std::int32_t> psum(C, 0);
            for (int r = 0; r < R; ++r) {
              const bool row_used = k0 + r < run0 + run;
              std::int32_t act = row_used ? naive_activation(s, activations, g, m, k0 + r) : 0;
              for (int c = 0; c < C; ++c) {
                const bool used = row_used && n0 + c < N;
                const std::int32_t w = used ? weights[g * K * N + (k0 + r) * N + n0 + c] : 0;
                const pe::PeHooks& h = hooks[r * C + c];
                const bool bypass = faults.bypass[r * C + c] != 0;
                const pe::PeOutputs out =
                    arithmetic == NaiveArithmetic::datapath
                        ? pe::evaluate(h, bypass, w, act, psum[c], chip.accumulator_bits)
                        : bit_string_pe(h, bypass, w, act, psum[c], chip.accumulator_bits);
                psum[c] = out.psum;
                act = out.activation;
              }
            }
            for (int c = 0; c < C && n0 + c < N; ++c) {
              std::int32_t& acc = accumulators[m * s.out_c + g * N + n0 + c];
              acc = static_cast<std::int32_t>(from_bits(to_bits(std::int64_t{acc} + psum[c], 32)));
            }
          }
  return accumulators;
}

}  // namespace kintsugi::test

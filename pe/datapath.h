// What one processing element computes: the only PE arithmetic in the project.
//
// Weight-stationary PE, one cycle:
//   a        = act_in                                   (the left neighbour's register, or the edge)
//   w        = hook(weight_register, weight)
//   product  = hook(multiplier, a · w)                  8 × 8 -> 16 bits, signed
//   sum      = hook(adder, psum_in + product)           accumulator_bits, wraps (two's complement)
//   psum_reg = hook(psum_register, bypass ? psum_in : sum)
//   act_reg  = hook(activation_register, a)             what the right neighbour sees in the next cycle
// In a cycle with an Upset (flip-flops that captured too early, a product that TE-Drop gives up, bits that
// flip by chance), psum_reg is
//   psum_reg = hook(psum_register, (bypass or drop ? psum_in : sum ^ timing_error) ^ flip)
// A hook acts on the bit pattern of its site, which is then sign-extended. The multiplexer of fault-aware
// pruning (Zhang, Gu, Basu, Garg, VTS 2018) sits after the adder: it hides faults of the weight register,
// the multiplier and the adder, not those of the two registers that neighbours read.
//
// All functions are inline, branch-light and total (no errors), so that the engines can vectorise over them.
#pragma once

#include <array>
#include <cstdint>

namespace kintsugi::pe {

enum class Site : std::uint8_t { weight_register, multiplier, adder, psum_register, activation_register };
inline constexpr int kSites = 5;

inline constexpr int kOperandBits = 8;
inline constexpr int kProductBits = 2 * kOperandBits;

// Width in bits of a site's value.
constexpr int site_bits(Site site, int accumulator_bits) {
  switch (site) {
    case Site::weight_register:
    case Site::activation_register:
      return kOperandBits;
    case Site::multiplier:
      return kProductBits;
    case Site::adder:
    case Site::psum_register:
      return accumulator_bits;
  }
  return 0;
}

// The low `bits` bits of x, sign-extended; 1 ≤ bits ≤ 32.
constexpr std::int32_t sign_extend(std::uint32_t x, int bits) {
  const int shift = 32 - bits;
  return static_cast<std::int32_t>(x << shift) >> shift;
}

// hook(x) = ((x & keep) | set) ^ flip. The default changes nothing. A stuck-at-0 bit is cleared in `keep`,
// a stuck-at-1 bit is set in `set`, a bit flip in `flip`.
struct Hook {
  std::uint32_t keep = ~std::uint32_t{0};
  std::uint32_t set = 0;
  std::uint32_t flip = 0;

  constexpr bool identity() const { return keep == ~std::uint32_t{0} && set == 0 && flip == 0; }
  constexpr std::int32_t apply(std::int32_t x, int bits) const {
    return sign_extend(((static_cast<std::uint32_t>(x) & keep) | set) ^ flip, bits);
  }
  constexpr void stick(int bit, int value) {
    keep &= ~(std::uint32_t{1} << bit);
    if (value != 0) set |= std::uint32_t{1} << bit;
  }
  friend constexpr bool operator==(const Hook&, const Hook&) = default;
};

// The hooks of one PE, by Site.
struct PeHooks {
  std::array<Hook, kSites> at{};
  constexpr Hook& operator[](Site site) { return at[static_cast<int>(site)]; }
  constexpr const Hook& operator[](Site site) const { return at[static_cast<int>(site)]; }
  constexpr bool identity() const {
    for (const Hook& hook : at)
      if (!hook.identity()) return false;
    return true;
  }
  friend constexpr bool operator==(const PeHooks&, const PeHooks&) = default;
};

// What goes wrong in one cycle, beside permanent faults. Only the accumulator's bits count.
struct Upset {
  std::uint32_t timing_error = 0;  // captured xor settled sum
  bool drop = false;               // the product is given up: psum_in passes
  std::uint32_t flip = 0;          // on what is written to the psum register
};

// What a PE computes with in a cycle; the weight as the multiplier sees it.
struct PeInputs {
  std::int8_t activation = 0;
  std::int8_t weight = 0;
  std::int32_t psum = 0;
  friend constexpr bool operator==(const PeInputs&, const PeInputs&) = default;
};

struct PeOutputs {
  std::int32_t psum = 0;        // next value of the psum register
  std::int32_t activation = 0;  // next value of the activation register, −128 … 127
};

// Clean addition with wrap-around at `accumulator_bits`.
constexpr std::int32_t wrapping_add(std::int32_t a, std::int32_t b, int accumulator_bits) {
  return sign_extend(static_cast<std::uint32_t>(a) + static_cast<std::uint32_t>(b), accumulator_bits);
}

// A PE without faults and without bypass.
constexpr std::int32_t clean_psum(std::int32_t weight, std::int32_t activation, std::int32_t psum_in,
                                  int accumulator_bits) {
  return wrapping_add(psum_in, weight * activation, accumulator_bits);
}

// Any PE. `weight` and `act_in` are int8 values; `psum_in` has accumulator_bits (16 … 32).
constexpr PeOutputs evaluate(const PeHooks& hooks, bool bypass, std::int32_t weight, std::int32_t act_in,
                             std::int32_t psum_in, int accumulator_bits, const Upset& upset = {}) {
  const std::int32_t w = hooks[Site::weight_register].apply(weight, kOperandBits);
  const std::int32_t product = hooks[Site::multiplier].apply(act_in * w, kProductBits);
  const std::int32_t sum =
      hooks[Site::adder].apply(wrapping_add(psum_in, product, accumulator_bits), accumulator_bits);
  const std::uint32_t captured = static_cast<std::uint32_t>(sum) ^ upset.timing_error;
  const std::uint32_t written =
      (bypass || upset.drop ? static_cast<std::uint32_t>(psum_in) : captured) ^ upset.flip;
  return {hooks[Site::psum_register].apply(static_cast<std::int32_t>(written), accumulator_bits),
          hooks[Site::activation_register].apply(act_in, kOperandBits)};
}

}  // namespace kintsugi::pe

// A hook as one vector instruction applies it: ((x & keep) | set) ^ flip is (x & keep') ^ flip', one
// vpternlogd on 32-bit words.
#pragma once

#include <cstdint>

#include "pe/datapath.h"

namespace kintsugi::array {

struct HookMask {
  static constexpr int kFunction = 0x6a;  // of vpternlogd: (x & keep) ^ flip

  std::uint32_t keep = ~std::uint32_t{0}, flip = 0;

  bool identity() const { return keep == ~std::uint32_t{0} && flip == 0; }
  void then(const HookMask& next) {
    keep &= next.keep;
    flip = (flip & next.keep) ^ next.flip;
  }

  // On a partial sum.
  static HookMask of(const pe::Hook& hook) { return {hook.keep & ~hook.set, hook.set ^ hook.flip}; }
  // On a product's 16-bit pattern, which is then sign-extended: bit 15 speaks for all above.
  static HookMask of_product(const pe::Hook& hook) {
    const HookMask m = of(hook);
    return {static_cast<std::uint32_t>(pe::sign_extend(m.keep, pe::kProductBits)),
            static_cast<std::uint32_t>(pe::sign_extend(m.flip, pe::kProductBits))};
  }
  // On the byte of row `row` in a quad of unsigned activations: the hook between two flips of the top bit.
  static HookMask of_activation(const pe::Hook& hook, int row) {
    const HookMask m = of(hook);
    const std::uint32_t keep = m.keep & 0xffu, flip = ((0x80u & keep) ^ m.flip ^ 0x80u) & 0xffu;
    const int shift = row % 4 * 8;
    return {~(0xffu << shift) | keep << shift, flip << shift};
  }
};

}  // namespace kintsugi::array

// A fast fingerprint of a block of bytes, to notice that weights have changed or a copy
// is damaged. Not against forgery.
#pragma once

#include <cstddef>
#include <cstdint>

namespace kintsugi::array {

struct Fingerprint {
  std::uint64_t low = 0, high = 0;
  friend bool operator==(const Fingerprint&, const Fingerprint&) = default;
};

// 128 bits; about as fast as reading the bytes. The same on every machine.
Fingerprint fingerprint(const void* bytes, std::size_t count);

}  // namespace kintsugi::array

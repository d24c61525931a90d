#include "array/content_hash.h"

#include <cstring>

namespace kintsugi::array {

namespace {

constexpr int kLanes = 16;
constexpr std::size_t kStripe = kLanes * sizeof(std::uint64_t);

std::uint64_t mix(std::uint64_t x) {  // the finaliser of SplitMix64
  x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
  x = (x ^ x >> 27) * 0x94d049bb133111ebu;
  return x ^ x >> 31;
}

// Each lane adds the product of the halves of its keyed word, and its neighbour's word itself, as XXH3 does:
// a vector multiplication a word. The rotation makes the place of a stripe count.
void add_stripe(const unsigned char* bytes, const std::uint64_t* keys, std::uint64_t* lanes) {
  std::uint64_t words[kLanes];
  std::memcpy(words, bytes, kStripe);
  for (int i = 0; i < kLanes; ++i) {
    const std::uint64_t keyed = words[i] ^ keys[i];
    lanes[i] = (lanes[i] << 1 | lanes[i] >> 63) + (keyed & 0xffffffffu) * (keyed >> 32) + words[i ^ 1];
  }
}

}  // namespace

Fingerprint fingerprint(const void* bytes, std::size_t count) {
  std::uint64_t keys[kLanes], lanes[kLanes];
  for (int i = 0; i < kLanes; ++i) {
    keys[i] = mix(0x9e3779b97f4a7c15u * static_cast<std::uint64_t>(i + 1));
    lanes[i] = mix(keys[i]);
  }
  const auto* at = static_cast<const unsigned char*>(bytes);
  std::size_t left = count;
  for (; left >= kStripe; left -= kStripe, at += kStripe) add_stripe(at, keys, lanes);
  if (left > 0) {
    unsigned char rest[kStripe] = {};
    std::memcpy(rest, at, left);
    add_stripe(rest, keys, lanes);
  }
  Fingerprint result{mix(count), mix(~std::uint64_t{count})};
  for (int i = 0; i < kLanes; ++i) {
    result.low = mix(result.low ^ lanes[i]);
    result.high = mix(result.high + lanes[kLanes - 1 - i] * 0x9fb21c651e98df25u);
  }
  return result;
}

}  // namespace kintsugi::array

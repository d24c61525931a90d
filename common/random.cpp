#include "common/random.h"

#include <boost/random/gamma_distribution.hpp>
#include <boost/random/normal_distribution.hpp>
#include <sstream>
#include <stdexcept>
#include <string>

namespace kintsugi::common {
namespace {

std::uint64_t fnv1a(std::string_view text) {
  std::uint64_t hash = 0xcbf29ce484222325u;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
  return hash;
}

std::seed_seq make_seed(std::uint64_t seed, std::string_view purpose, std::uint64_t index) {
  const std::uint64_t name = fnv1a(purpose);
  const auto low = [](std::uint64_t x) { return static_cast<std::uint32_t>(x); };
  const auto high = [](std::uint64_t x) { return static_cast<std::uint32_t>(x >> 32); };
  return {low(seed), high(seed), low(name), high(name), low(index), high(index)};
}

}  // namespace

RandomStream::RandomStream(std::uint64_t seed, std::string_view purpose, std::uint64_t index) {
  std::seed_seq sequence = make_seed(seed, purpose, index);
  engine_.seed(sequence);
}

std::uint64_t RandomStream::below(std::uint64_t n) {
  // Rejection: the largest multiple of n that fits keeps every remainder equally likely.
  const std::uint64_t limit = ~std::uint64_t{0} - (~std::uint64_t{0} % n + 1) % n;
  std::uint64_t x = next();
  while (x > limit) x = next();
  return x % n;
}

// Boost's distributions are used, not the standard library's, because theirs are the same in every build.
double RandomStream::normal() {
  return boost::random::normal_distribution<double>()(engine_);
}

double RandomStream::gamma(double shape) {
  return boost::random::gamma_distribution<double>(shape)(engine_);
}

std::string RandomStream::save() const {
  std::ostringstream out;
  out << engine_;
  return out.str();
}

void RandomStream::restore(const std::string& state) {
  std::istringstream in(state);
  in >> engine_;
  if (!in) throw std::runtime_error("a random generator's saved state cannot be read back");
}

}  // namespace kintsugi::common

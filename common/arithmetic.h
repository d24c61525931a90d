// Whole-number arithmetic that the language lacks.
#pragma once

#include <cstdint>

namespace kintsugi::common {

// a / b, rounded up; a ≥ 0, b > 0.
constexpr std::int64_t divide_up(std::int64_t a, std::int64_t b) {
  return (a + b - 1) / b;
}

}  // namespace kintsugi::common

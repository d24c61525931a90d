// What the registers of one PE hold between two clock edges: what a waveform shows.
#pragma once

#include <cstdint>

namespace kintsugi::array {

struct PeRegisters {
  bool valid = false;          // the two values below belong to a position of a stream
  std::int8_t activation = 0;  // what the neighbour to the right sees next; meaningless if not valid
  std::int32_t psum = 0;       // what the PE below sees next; meaningless if not valid
  std::int8_t weight = 0;      // the weight in use
  friend bool operator==(const PeRegisters&, const PeRegisters&) = default;
};

}  // namespace kintsugi::array

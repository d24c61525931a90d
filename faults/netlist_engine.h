// Runs a program on planes of bits, and turns operands into planes.
//
// Lanes come in batches of a fixed size per executor. A plane of a batch is `words()` words of 64 lanes.
#pragma once

#include <cstddef>
#include <cstdint>

#include "faults/netlist_program.h"

namespace kintsugi::faults {

// One way to execute; the bits are the same with all of them.
struct PlaneEngine {
  // 64-bit words of a plane: of a full batch, and of a small one for what is left over.
  std::size_t words = 0, few_words = 0;
  // slots: program.slots planes one after the other, aligned to 64 bytes; inputs are set before.
  void (*run)(const Program& program, std::uint64_t* slots) = nullptr;
  void (*run_few)(const Program& program, std::uint64_t* slots) = nullptr;
  // planes[bit][i] = bit `bit` of bytes 64·i … 64·i+63, for those of 8 planes that are not null.
  void (*split)(const std::uint8_t* bytes, std::size_t words, std::uint64_t* const* planes) = nullptr;
};

const PlaneEngine& portable_engine();
const PlaneEngine& avx2_engine();
const PlaneEngine& avx512_engine();

}  // namespace kintsugi::faults

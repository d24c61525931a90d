// A program as AVX-512 machine code: straight-line, planes of 512 lanes, values in registers as far as they
// fit. Three times as fast as the executors' loops, with the same bits.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "faults/netlist_program.h"

namespace kintsugi::faults {

class AssembledProgram {
 public:
  static constexpr std::size_t kWords = 8;  // of a plane
  virtual ~AssembledProgram() = default;
  // slots: as for PlaneEngine.
  virtual void run(std::uint64_t* slots) const = 0;
};

// Null if this build has no assembler (Xbyak), or if the system lets nobody make code. The code may only run
// on processors with AVX-512F.
std::unique_ptr<const AssembledProgram> assemble(const Program& program);

}  // namespace kintsugi::faults

// A fault map and a bypass map as the array sees them: hooks per faulty PE and one bypass bit per PE.
//
// This is what is loaded into an engine. Physical faults and configured bypass are separate inputs (test
// escapes, false alarms); by default the bypass covers exactly the PEs with a fault that the test found.
#pragma once

#include <cstdint>
#include <vector>

#include "faults/fault_map.h"
#include "pe/datapath.h"

namespace kintsugi::faults {

struct FaultyPe {
  int row = 0;
  int col = 0;
  pe::PeHooks hooks;  // never the identity
};

struct ArrayFaults {
  int rows = 0;
  int cols = 0;
  std::vector<std::uint8_t> bypass;   // rows·cols, row-major, 1 = bypassed
  std::vector<FaultyPe> faulty;       // sorted by (row, col); one entry per PE
  std::int64_t assumed_maskable = 0;  // bypassed PEs whose fault's nature is unknown
  std::int64_t named_faulty = 0;      // distinct PEs named in the physical map

  bool bypassed(int row, int col) const { return bypass[static_cast<std::size_t>(row) * cols + col] != 0; }
  std::int64_t bypassed_pes() const;
};

// No faults, no bypass.
ArrayFaults fault_free(int rows, int cols);

// What the bypass is made from.
enum class BypassSource {
  fault_map,   // the PEs named in the physical map, escapes excepted
  bypass_map,  // the PEs named in a map of their own, escapes excepted
  none         // nothing is bypassed
};

// One bit per PE, row-major. `bypass_map` is read only for BypassSource::bypass_map; PEs that a map names
// only as `escape: true` are not bypassed. Both maps have the same size; throws common::InputError if not.
std::vector<std::uint8_t> bypass_bits(const FaultMap& physical, BypassSource source,
                                      const FaultMap* bypass_map);

// Compiles. Throws common::InputError if a map's size is not rows×cols, a bit does not exist at its site, or
// an unbypassed PE has a fault of unknown nature (there are no bits to compute).
// `bypass_map` is read only for BypassSource::bypass_map.
ArrayFaults compile(const FaultMap& physical, BypassSource source, const FaultMap* bypass_map, int rows,
                    int cols, int accumulator_bits);

}  // namespace kintsugi::faults

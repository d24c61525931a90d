// Known faults that the bypass cannot hide, as a mapper has to see them: columns whose results nobody may
// use, and PEs that may hold no weight but zero.
//
// A PE writes its psum and its activation register whether it is bypassed or not (pe/datapath.h), so
//   a faulty psum register spoils every psum that passes down its column: the column may hold no channel;
//   a faulty activation register spoils what the PEs to its right, not itself, read: with a zero weight each
//   of them, healthy or bypassed, passes its psum on whatever it read.
// Escapes are not known, so nothing here counts them.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "faults/array_faults.h"
#include "faults/fault_map.h"

namespace kintsugi::faults {

struct Unbypassable {
  std::vector<std::uint8_t> spoiled_column;  // by column, 1 = spoiled
  std::vector<int> sound_until;  // by row: PEs from this column on read a spoiled activation; cols if none
  std::int64_t faulty_pes = 0;   // PEs with such a fault

  bool any() const { return faulty_pes > 0; }
  std::int64_t spoiled_columns() const;
  std::int64_t cut_rows() const;
};

// Escapes excepted. `bypass` as in ArrayFaults: a known fault of an unbypassed PE spoils its column wherever
// in the PE it is.
Unbypassable find_unbypassable(const FaultMap& map, std::span<const std::uint8_t> bypass);

// `faults` with a bypass bit for every PE that may hold no weight: what masks and mappings are made from. The
// chip itself is not configured like this.
ArrayFaults with_avoided(const ArrayFaults& faults, const Unbypassable& unbypassable);

}  // namespace kintsugi::faults

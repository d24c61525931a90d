#include "faults/unbypassable.h"

#include <algorithm>
#include <numeric>
#include <set>

namespace kintsugi::faults {

std::int64_t Unbypassable::spoiled_columns() const {
  return std::accumulate(spoiled_column.begin(), spoiled_column.end(), std::int64_t{0});
}

std::int64_t Unbypassable::cut_rows() const {
  const int cols = static_cast<int>(spoiled_column.size());
  return std::count_if(sound_until.begin(), sound_until.end(), [&](int until) { return until < cols; });
}

Unbypassable find_unbypassable(const FaultMap& map, std::span<const std::uint8_t> bypass) {
  Unbypassable result;
  result.spoiled_column.assign(static_cast<std::size_t>(map.cols), 0);
  result.sound_until.assign(static_cast<std::size_t>(map.rows), map.cols);
  std::set<std::pair<int, int>> pes;
  for (const Fault& fault : map.faults) {
    if (fault.escape || !fault.stuck) continue;
    const pe::Site site = fault.stuck->site;
    if (site == pe::Site::activation_register) {
      int& until = result.sound_until[static_cast<std::size_t>(fault.row)];
      until = std::min(until, fault.col + 1);
    } else if (site == pe::Site::psum_register ||
               bypass[static_cast<std::size_t>(fault.row) * map.cols + fault.col] == 0) {
      result.spoiled_column[static_cast<std::size_t>(fault.col)] = 1;
    } else {
      continue;
    }
    pes.emplace(fault.row, fault.col);
  }
  result.faulty_pes = std::ssize(pes);
  return result;
}

ArrayFaults with_avoided(const ArrayFaults& faults, const Unbypassable& unbypassable) {
  ArrayFaults result = faults;
  for (int r = 0; r < faults.rows; ++r)
    for (int c = 0; c < faults.cols; ++c)
      if (unbypassable.spoiled_column[static_cast<std::size_t>(c)] != 0 ||
          c >= unbypassable.sound_until[static_cast<std::size_t>(r)])
        result.bypass[static_cast<std::size_t>(r) * faults.cols + c] = 1;
  return result;
}

}  // namespace kintsugi::faults

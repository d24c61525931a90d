// The wafer a chip comes from: `wafer` in its map's meta. Chips of one wafer resemble each other.
#pragma once

#include <string>
#include <string_view>

#include "faults/fault_map.h"

namespace kintsugi::faults {

// What `meta: {wafer: …}` of a map says; "" if nothing.
std::string wafer_of(const FaultMap& map);
// "wafer: W3\n", a line of meta; "" for no wafer.
std::string wafer_meta(std::string_view wafer);

}  // namespace kintsugi::faults

// How launches and what they cost stand in the array target's registers. Both ends use it: the host, which
// writes launches and reads reports, and the register file.
#pragma once

#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

#include "array/accelerator.h"
#include "array/register_map.h"

namespace kintsugi::array {

using RegisterValues = std::vector<std::pair<Register, std::uint64_t>>;
using ReadRegister = std::function<std::uint64_t(Register)>;

// What to write before START; before START VECTOR.
RegisterValues registers_of(const LayerLaunch& launch);
RegisterValues registers_of(const VectorLaunch& launch);
RegisterValues registers_of(const LaunchReport& report);

// The other way round. Nothing is checked.
LayerLaunch layer_in_registers(const ReadRegister& read);
VectorLaunch vector_in_registers(const ReadRegister& read);
LaunchReport report_in_registers(const ReadRegister& read);

}  // namespace kintsugi::array

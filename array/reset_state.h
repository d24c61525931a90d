// What START leaves behind: registers and weights are zero, and everything has settled.
#pragma once

#include <vector>

#include "faults/array_faults.h"
#include "pe/datapath.h"

namespace kintsugi::array {

// What every PE (row-major) computes with: zeros from the edges and from its weight register, as its own
// faults and those of the PEs to the left and above change them.
std::vector<pe::PeInputs> inputs_after_reset(const faults::ArrayFaults& faults, int accumulator_bits);

}  // namespace kintsugi::array

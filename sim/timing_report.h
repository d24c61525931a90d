// What reports say about a chip's timing: where its delays come from, how far its clock is from what they
// need, and what is assumed.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "faults/chip_speed.h"

namespace kintsugi::sim {

inline constexpr const char* kOnlyPesFail =
    "only PEs fail: memories, control and the activation unit are assumed safe at every clock";

// Several lines: the operating point, T/Tmin, guard band, netlist and process, PEs at risk, and kOnlyPesFail.
std::string timing_text(const configs::ChipConfig& chip, const faults::ChipSpeed& speed,
                        const faults::OperatingPoint& point);

// The same as lines of a YAML mapping, each behind `indent`.
std::string timing_yaml(const configs::ChipConfig& chip, const faults::ChipSpeed& speed,
                        const faults::OperatingPoint& point, const std::string& indent);

// A digest of everything that the errors at this point depend on, beside operands and permanent faults.
std::string timing_digest(const configs::ChipConfig& chip, const faults::ChipSpeed& speed,
                          const faults::OperatingPoint& point);

}  // namespace kintsugi::sim

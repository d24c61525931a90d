// The `timing` section of a chip description. Private to chip.cpp.
#pragma once

#include <optional>

#include "configs/chip.h"
#include "configs/yaml_reader.h"

namespace kintsugi::configs {

// `timing` of the mapping `chip`, if it is there. `nominal_clock_mhz`: the file's clock. Problems are
// reported to the file.
std::optional<TimingConfig> read_timing(Section& chip, double nominal_clock_mhz);

}  // namespace kintsugi::configs

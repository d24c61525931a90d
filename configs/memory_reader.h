// The parts of a chip description that say what is around the array: `memory` and `energy`. Private to
// chip.cpp.
#pragma once

#include <optional>

#include "configs/chip.h"
#include "configs/yaml_reader.h"

namespace kintsugi::configs {

// `memory` of the mapping `chip`; none: ideal. `array` gives the default width of the activation unit.
// Problems are reported to the file.
std::optional<MemoryConfig> read_memory(Section& chip, const ArrayConfig& array);

// `energy` of the mapping `chip`, if it is there; then whole.
std::optional<EnergyConfig> read_energy(Section& chip, const ArrayConfig& array);

}  // namespace kintsugi::configs

// --frequency-mhz, --voltage-v and --temperature-c: the operating point of a command's chip, instead of the
// one in its file.
#pragma once

#include <string>

#include "configs/chip.h"
#include "sim/options.h"

namespace kintsugi::sim {

void add_operating_options(OptionParser& parser);

// What the options give. `command`, like "kintsugi run", is for messages. Throws common::InputError for
// numbers out of range.
configs::OperatingPointConfig chosen_point(const OptionParser& parser, const std::string& command);

// `chip` at that point; what it does not give stays. Throws common::InputError for a chip without a timing
// section, which no option can make late, and for a voltage or temperature that makes no difference to it.
configs::ChipConfig at_chosen_point(configs::ChipConfig chip, const configs::OperatingPointConfig& point,
                                    const std::string& command);

}  // namespace kintsugi::sim

// The pictures of an overclocking campaign.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "sim/overclock_report.h"

namespace kintsugi::sim {

// File names and SVG texts: accuracy against the sweep, and the error classes of every layer.
std::vector<std::pair<std::string, std::string>> overclock_plots(const OverclockReport& report);

}  // namespace kintsugi::sim

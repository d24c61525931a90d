// The sub-commands of `kintsugi timing`.
#pragma once

#include <string>
#include <vector>

namespace kintsugi::sim {

// Sub-commands: arguments after the sub-command's name; return an exit status; throw common::InputError.
int timing_import(const std::vector<std::string>& arguments);
int timing_show(const std::vector<std::string>& arguments);

}  // namespace kintsugi::sim

// Commands that only choose among others: `kintsugi timing show`.
#pragma once

#include <span>
#include <string>
#include <vector>

namespace kintsugi::sim {

struct SubCommand {
  const char* name;
  const char* summary;
  int (*run)(const std::vector<std::string>&);
};

struct CommandGroup {
  const char* name;     // "timing"
  const char* purpose;  // a sentence or two
  const char* example;  // whole lines, each with its line end
  std::span<const SubCommand> commands;
};

// Finds the sub-command and returns its exit status; shows help where that is asked for, or nothing is.
// Throws common::InputError for a name that is none, with the nearest known one.
int run_sub_command(const CommandGroup& group, const std::vector<std::string>& arguments);

}  // namespace kintsugi::sim

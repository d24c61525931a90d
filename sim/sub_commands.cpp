#include "sim/sub_commands.h"

#include <fmt/format.h>

#include <iostream>

#include "common/diagnostics.h"
#include "common/text.h"
#include "sim/options.h"

namespace kintsugi::sim {
namespace {

std::string help(const CommandGroup& group) {
  std::string text = fmt::format("Usage: kintsugi {} <sub-command> [options]\n\n{} Sub-commands:\n",
                                 group.name, group.purpose);
  for (const SubCommand& command : group.commands)
    text += fmt::format("  {:<9}{}\n", command.name, command.summary);
  return text + fmt::format("\n'kintsugi {} <sub-command> --help' explains each.\n\nExample:\n{}", group.name,
                            group.example);
}

}  // namespace

int run_sub_command(const CommandGroup& group, const std::vector<std::string>& arguments) {
  if (arguments.empty()) {
    std::cerr << help(group);
    return kExitBadInput;
  }
  if (arguments[0] == "--help" || arguments[0] == "-h" || arguments[0] == "help") {
    std::cout << help(group);
    return kExitDone;
  }
  std::vector<std::string> names;
  for (const SubCommand& command : group.commands) {
    if (arguments[0] == command.name) return command.run({arguments.begin() + 1, arguments.end()});
    names.push_back(command.name);
  }
  const auto near = common::nearest(arguments[0], names);
  throw common::InputError(
      fmt::format("kintsugi {0}: error: there is no sub-command '{1}'{2}; the sub-commands are {3}\n"
                  "'kintsugi {0} --help' says what each does",
                  group.name, arguments[0], near ? fmt::format(", did you mean '{}'?", *near) : "",
                  common::join_or(names)));
}

}  // namespace kintsugi::sim

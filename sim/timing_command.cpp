// `kintsugi timing`: finds the sub-command.
#include "sim/timing_command.h"

#include <fmt/format.h>

#include <iostream>

#include "common/diagnostics.h"
#include "common/text.h"
#include "sim/options.h"

namespace kintsugi::sim {
namespace {

struct SubCommand {
  const char* name;
  const char* summary;
  int (*run)(const std::vector<std::string>&);
};

constexpr SubCommand kSubCommands[] = {
    {"import", "make a timing file from a PE's own gate-level netlist and delays", timing_import},
    {"show", "how fast a chip's PEs are, and which fail first", timing_show},
};

std::string help() {
  std::string text =
      "Usage: kintsugi timing <sub-command> [options]\n\n"
      "A PE that is clocked too fast captures its sums before they have settled. Sub-commands:\n";
  for (const SubCommand& command : kSubCommands)
    text += fmt::format("  {:<9}{}\n", command.name, command.summary);
  return text +
         "\n'kintsugi timing <sub-command> --help' explains each.\n\nExample:\n"
         "  kintsugi timing import --verilog pe.v --sdf pe.sdf --liberty cells.lib --out pe.pe\n";
}

}  // namespace

int timing_command(const std::vector<std::string>& arguments) {
  if (arguments.empty()) {
    std::cerr << help();
    return kExitBadInput;
  }
  if (arguments[0] == "--help" || arguments[0] == "-h" || arguments[0] == "help") {
    std::cout << help();
    return kExitDone;
  }
  std::vector<std::string> names;
  for (const SubCommand& command : kSubCommands) {
    if (arguments[0] == command.name) return command.run({arguments.begin() + 1, arguments.end()});
    names.push_back(command.name);
  }
  const auto near = common::nearest(arguments[0], names);
  throw common::InputError(fmt::format(
      "kintsugi timing: error: there is no sub-command '{}'{}; the sub-commands are {}\n"
      "'kintsugi timing --help' says what each does",
      arguments[0], near ? fmt::format(", did you mean '{}'?", *near) : "", common::join_or(names)));
}

}  // namespace kintsugi::sim

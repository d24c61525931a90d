// `kintsugi timing`: finds the sub-command.
#include "sim/timing_command.h"

#include "sim/sub_commands.h"

namespace kintsugi::sim {

int timing_command(const std::vector<std::string>& arguments) {
  static constexpr SubCommand kSubCommands[] = {
      {"import", "make a timing file from a PE's own gate-level netlist and delays", timing_import},
      {"show", "how fast a chip's PEs are, and which fail first", timing_show},
  };
  return run_sub_command(
      {"timing", "A PE that is clocked too fast captures its sums before they have settled.",
       "  kintsugi timing import --verilog pe.v --sdf pe.sdf --liberty cells.lib --out pe.pe\n",
       kSubCommands},
      arguments);
}

}  // namespace kintsugi::sim

// kintsugi network show FILE
#include <fmt/format.h>
#include <unistd.h>

#include <filesystem>
#include <iostream>
#include <string>
#include <system_error>
#include <vector>

#include "common/diagnostics.h"
#include "common/files.h"
#include "configs/chip.h"
#include "configs/network.h"
#include "sim/network_report.h"
#include "sim/options.h"
#include "workloads/network.h"

namespace kintsugi::sim {
namespace {

namespace po = boost::program_options;

constexpr const char* kOverview =
    "Usage: kintsugi network show FILE [options]\n\n"
    "Shows a network's layers, shapes, parameters, MACs, neurons, matrix products, and tiles on a chip.\n\n"
    "'kintsugi network show --help' lists the options.\n"
    "Example: kintsugi network show configs/networks/vgg16.yaml\n";

// tpu256's sizes, for which the tiles are counted unless a chip is named.
configs::ChipConfig default_chip() {
  configs::ChipConfig chip;
  chip.name = "tpu256";
  return chip;
}

int show(const std::vector<std::string>& arguments) {
  OptionParser parser(
      "kintsugi network show FILE [--chip FILE] [--out DIR]",
      "Shows a network's layers, shapes, parameters, MACs, neurons, matrix products, and tiles "
      "on a chip.",
      "kintsugi network show configs/networks/vgg16.yaml --chip configs/chips/tpu256.yaml");
  parser.own().add_options()  //
      ("network", po::value<std::string>()->required()->value_name("FILE"),
       "network description (configs/networks/*.yaml)")  //
      ("chip", po::value<std::string>()->value_name("FILE"),
       "chip description that tiles are counted for; default: a 256x256 array, im2col");
  parser.positional("network", 1);
  for (const char* unused : {"seed", "threads", "data-dir"}) parser.without(unused);
  parser.reads({"chip", "network"});
  if (!parser.parse(arguments)) return kExitDone;
  const CommonOptions& options = parser.common();
  const configs::ChipConfig chip =
      parser.has("chip") ? configs::read_chip(parser.text("chip"), options.set) : default_chip();
  const workloads::Network network =
      workloads::build_network(configs::read_network(parser.text("network"), options.set));
  if (!options.out.empty()) {
    std::error_code code;
    std::filesystem::create_directories(options.out, code);
    if (code)
      throw common::InputError(
          {options.out.string()},
          fmt::format("cannot create the folder: {}; choose another --out", code.message()));
    common::write_file_atomic(options.out / "layers.csv", network_csv(network, chip));
    common::write_file_atomic(options.out / "summary.yaml", network_summary(network, chip));
  }
  if (!options.quiet) std::cout << network_table(network, chip, isatty(STDOUT_FILENO) != 0);
  return kExitDone;
}

}  // namespace

int network_command(const std::vector<std::string>& arguments) {
  if (arguments.empty() || arguments[0] == "--help" || arguments[0] == "-h") {
    fmt::print("{}", kOverview);
    return arguments.empty() ? kExitBadInput : kExitDone;
  }
  if (arguments[0] != "show")
    throw common::InputError(fmt::format(
        "kintsugi network has no step '{}'; there is 'kintsugi network show FILE'", arguments[0]));
  return show({arguments.begin() + 1, arguments.end()});
}

}  // namespace kintsugi::sim

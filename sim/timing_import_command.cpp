// `kintsugi timing import`: a user's own PE becomes a timing file.
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <iostream>

#include "common/diagnostics.h"
#include "common/text.h"
#include "faults/import_netlist.h"
#include "sim/options.h"
#include "sim/timing_command.h"

namespace kintsugi::sim {
namespace {

namespace po = boost::program_options;

[[noreturn]] void option_error(const std::string& message) {
  throw common::InputError("kintsugi timing import: error: " + message);
}

// "activation=a,weight=w": the roles that are named; the others keep their names.
faults::ImportPorts parse_ports(const std::string& text) {
  faults::ImportPorts ports;
  const std::vector<std::pair<std::string, std::string*>> roles = {{"activation", &ports.activation},
                                                                   {"weight", &ports.weight},
                                                                   {"psum", &ports.psum},
                                                                   {"out", &ports.out},
                                                                   {"clock", &ports.clock}};
  std::vector<std::string> known, given;
  for (const auto& [role, unused] : roles) known.push_back(role);
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = std::min(text.find(',', begin), text.size());
    const std::string part = text.substr(begin, end - begin);
    const std::size_t equals = part.find('=');
    const std::string role = part.substr(0, equals);
    const auto at =
        std::find_if(roles.begin(), roles.end(), [&](const auto& one) { return one.first == role; });
    if (equals == std::string::npos || equals + 1 == part.size() || at == roles.end()) {
      const auto near = common::nearest(role, known);
      option_error(
          fmt::format("--ports is a list like activation=a,weight=w, but holds '{}'{}; what can be named "
                      "is {}",
                      part, near && *near != role ? fmt::format(" (did you mean '{}'?)", *near) : "",
                      common::join(known)));
    }
    if (std::find(given.begin(), given.end(), role) != given.end())
      option_error(fmt::format("--ports names {} twice", role));
    given.push_back(role);
    *at->second = part.substr(equals + 1);
    begin = end + 1;
  }
  return ports;
}

}  // namespace

int timing_import(const std::vector<std::string>& arguments) {
  OptionParser parser("kintsugi timing import --verilog FILE --sdf FILE --liberty FILE --out FILE",
                      "Makes a timing file, which a chip's timing section names, from a PE's gates (flat "
                      "gate-level Verilog), "
                      "their\n"
                      "delays (SDF) and the library of their cells (Liberty). The PE computes psum + "
                      "activation * weight between\n"
                      "flip-flops on one clock; the three files are checked, and every problem is listed.",
                      "kintsugi timing import --verilog pe.v --sdf pe.sdf --liberty cells.lib "
                      "--ports activation=a,weight=w,psum=psum,out=q,clock=clk --out pe.pe");
  const auto word = [](const char* name) { return po::value<std::string>()->value_name(name); };
  const auto required = [](const char* name) {
    return po::value<std::string>()->required()->value_name(name);
  };
  parser.own().add_options()("verilog", required("FILE"), "the gates, flat: a synthesis tool's output")(
      "sdf", required("FILE"), "the delays of these gates, as static timing analysis writes them")(
      "liberty", required("FILE"), "the library of the cells")(
      "top", word("NAME"), "the module that is the PE (default: the file's only one)")(
      "ports", word("LIST"),
      "what its ports are called (default activation=a,weight=w,psum=psum,out=q,clock=clk)")(
      "name", word("TEXT"), "name of the PE in reports (default: the module's)")(
      "process", word("TEXT"), "name of the process in reports (default: from the library)")(
      "remark", word("TEXT"), "further provenance for the file, like a licence")("out", required("FILE"),
                                                                                 "the timing file to write");
  for (const char* unused : {"out", "seed", "threads", "data-dir", "set"}) parser.without(unused);
  if (!parser.parse(arguments)) return kExitDone;

  faults::ImportRequest request;
  request.verilog = parser.text("verilog");
  request.sdf = parser.text("sdf");
  request.liberty = parser.text("liberty");
  const auto text = [&](const char* option) {
    return parser.has(option) ? parser.text(option) : std::string();
  };
  request.top = text("top");
  if (parser.has("ports")) request.ports = parse_ports(text("ports"));
  request.name = text("name");
  request.process = text("process");
  request.remark = text("remark");
  const faults::ImportedNetlist imported = faults::import_netlist(request);
  const faults::TimedNetlist& netlist = imported.netlist;
  for (const std::string& warning : imported.warnings) spdlog::warn("{}", warning);
  faults::write_timed_netlist(netlist, parser.text("out"));
  if (!parser.common().quiet) {
    std::cout << fmt::format("{}: module {}, {} cells\n", request.verilog.string(), imported.module,
                             imported.cells);
    std::cout << fmt::format("{}-bit operands, {}-bit sum, {} gates", netlist.operand_bits,
                             netlist.accumulator_bits, netlist.gates.size());
    if (imported.left_out_gates > 0)
      std::cout << fmt::format("; {} gates that the sum does not depend on are left out",
                               imported.left_out_gates);
    const double slowest = faults::slowest_path_ps(netlist);
    std::cout << fmt::format("\nslowest path {} ps, setup included: {:.1f} MHz at {} V, {} C\n", slowest,
                             1e6 / slowest, common::format_number(netlist.voltage_v),
                             common::format_number(netlist.temperature_c));
    std::cout << "computes psum + activation * weight: checked\nwritten to " << parser.text("out") << "\n";
  }
  return kExitDone;
}

}  // namespace kintsugi::sim

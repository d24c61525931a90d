#include "faults/import_netlist.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <utility>

#include "common/files.h"
#include "common/random.h"
#include "common/text.h"
#include "faults/import_build.h"
#include "faults/import_graph.h"
#include "faults/import_ports.h"
#include "faults/liberty_file.h"
#include "faults/sdf_file.h"
#include "faults/verilog_netlist.h"

namespace kintsugi::faults {
namespace {

// The module that is the PE; lists the problem if there is no such one.
const VerilogModule* choose_module(const VerilogFile& verilog, const std::string& top,
                                   const std::string& file, ImportProblems& problems) {
  std::vector<std::string> names;
  for (const VerilogModule& module : verilog.modules) {
    names.push_back(module.name);
    if (module.name == top || (top.empty() && verilog.modules.size() == 1)) return &module;
  }
  problems.error(file, {},
                 top.empty()
                     ? fmt::format("the file holds {} modules, {}; say which is the PE with --top NAME",
                                   names.size(), common::join(names))
                     : fmt::format("the file holds no module '{}', only {}; say which is the PE with --top "
                                   "NAME",
                                   top, common::join(names)));
  return nullptr;
}

// One vector through the gates: the sum that settles.
std::uint64_t settled_sum(const TimedNetlist& netlist, std::uint64_t activation, std::uint64_t weight,
                          std::uint64_t psum) {
  std::vector<char> value(static_cast<std::size_t>(netlist.nets), 0);
  value[1] = 1;
  for (const LaunchBit& launch : netlist.launches) {
    const std::uint64_t operand = launch.operand == Operand::activation ? activation
                                  : launch.operand == Operand::weight   ? weight
                                                                        : psum;
    value[static_cast<std::size_t>(launch.net)] = static_cast<char>(operand >> launch.bit & 1U);
  }
  for (const TimedGate& gate : netlist.gates) {
    unsigned v = 0;
    for (std::size_t pin = 0; pin < gate.inputs.size(); ++pin)
      v |= static_cast<unsigned>(value[static_cast<std::size_t>(gate.inputs[pin])]) << pin;
    value[static_cast<std::size_t>(gate.output)] = static_cast<char>(gate.truth >> v & 1U);
  }
  std::uint64_t sum = 0;
  for (const CaptureBit& capture : netlist.captures)
    sum |= static_cast<std::uint64_t>(value[static_cast<std::size_t>(capture.net)]) << capture.bit;
  return sum;
}

// A small example of what a wrong netlist computes.
std::string wrong_example(const TimedNetlist& netlist) {
  const std::uint64_t mask = (std::uint64_t{1} << netlist.accumulator_bits) - 1;
  bool unsigned_fits = true;
  std::string example;
  common::RandomStream random(1, "netlist example");
  constexpr int kSmall = 64, kVectors = 4096;  // the first vectors are of small numbers
  for (int i = 0; i < kVectors; ++i) {
    const std::uint64_t bits = random.next();
    std::int64_t a = static_cast<std::int8_t>(bits & 0xFF);
    std::int64_t w = static_cast<std::int8_t>(bits >> 8 & 0xFF);
    std::int64_t psum = static_cast<std::int64_t>(bits >> 32) % 1000;
    if (i < kSmall) {
      a %= 4;
      w %= 4;
      psum %= 10;
    }
    const std::uint64_t sum = settled_sum(netlist, static_cast<std::uint64_t>(a),
                                          static_cast<std::uint64_t>(w), static_cast<std::uint64_t>(psum));
    if (sum != (static_cast<std::uint64_t>(psum + a * w) & mask) && example.empty())
      example = fmt::format("with activation {}, weight {} and psum {} it gives {:#x} instead of {:#x}", a, w,
                            psum, sum, static_cast<std::uint64_t>(psum + a * w) & mask);
    unsigned_fits =
        unsigned_fits && sum == (static_cast<std::uint64_t>(psum + (a & 0xFF) * (w & 0xFF)) & mask);
  }
  if (example.empty()) example = "in a few of several thousand cases";
  return example + (unsigned_fits ? "; it multiplies unsigned numbers, and must multiply signed ones"
                                  : "; are the ports the right ones (--ports)?");
}

std::string joined(std::vector<std::string> parts, std::string_view separator) {
  std::erase(parts, "");
  return common::join(parts, separator);
}

std::string default_process(const LibertyFile& library, const TimedNetlist& netlist) {
  return joined({library.name, library.operating_conditions,
                 fmt::format("{} V", common::format_number(netlist.voltage_v)),
                 fmt::format("{} C", common::format_number(netlist.temperature_c))},
                ", ");
}

// Provenance is text: what the comment character of a timing file would cut off is left out.
std::string plain(std::string text) {
  std::replace_if(
      text.begin(), text.end(), [](char c) { return c == '#' || static_cast<unsigned char>(c) < 0x20; }, ' ');
  return text;
}

double pick(const std::optional<double>& of_delays, const std::optional<double>& of_library, double fallback,
            std::string_view what, std::string_view unit, std::vector<std::string>& warnings) {
  if (of_delays && of_library && *of_delays != *of_library)
    warnings.push_back(
        fmt::format("the delays hold for a {} of {} {}, the library for {} {}; the delays' is taken", what,
                    common::format_number(*of_delays), unit, common::format_number(*of_library), unit));
  return of_delays ? *of_delays : of_library.value_or(fallback);
}

}  // namespace

ImportedNetlist import_netlist(const ImportRequest& request) {
  ImportProblems problems;
  const ImportFileNames files{request.verilog.string(), request.sdf.string(), request.liberty.string()};
  const auto read = [&](const std::filesystem::path& path) {
    std::string text = common::read_file_maybe_gzip(path);
    problems.add_source(path.string(), text);
    return text;
  };
  const std::string verilog_text = read(request.verilog), sdf_text = read(request.sdf),
                    liberty_text = read(request.liberty);
  const VerilogFile verilog = parse_verilog(files.verilog, verilog_text, problems);
  const SdfFile sdf = parse_sdf(files.sdf, sdf_text, problems);
  const LibertyFile library = parse_liberty(files.liberty, liberty_text, problems);
  problems.throw_if_any();
  const VerilogModule* module = choose_module(verilog, request.top, files.verilog, problems);
  problems.throw_if_any();

  const NetGraph graph(*module, library, {files.verilog, files.liberty}, problems);
  ImportedNetlist result;
  result.netlist = build_timed_netlist(*module, graph, sdf, library, request.ports, files, problems);
  problems.throw_if_any();
  if (!wrong_bits(result.netlist).empty())
    problems.error(files.verilog, module->where,
                   fmt::format("module '{}' does not compute {} = {} + {} * {}: {}", module->name,
                               request.ports.out, request.ports.psum, request.ports.activation,
                               request.ports.weight, wrong_example(result.netlist)));
  problems.throw_if_any();

  result.module = module->name;
  result.cells = static_cast<int>(module->cells.size());
  result.left_out_gates =
      std::max(0, static_cast<int>(graph.gates().size()) - static_cast<int>(result.netlist.gates.size()));
  TimedNetlist& netlist = result.netlist;
  constexpr double kRoomTemperature = 25;
  netlist.voltage_v = pick(sdf.voltage_v, library.voltage_v, 0, "voltage", "V", result.warnings);
  netlist.temperature_c =
      pick(sdf.temperature_c, library.temperature_c, kRoomTemperature, "temperature", "C", result.warnings);
  netlist.name = plain(request.name.empty() ? module->name : request.name);
  netlist.process = plain(request.process.empty() ? default_process(library, netlist) : request.process);
  netlist.provenance =
      fmt::format("imported from {} ({}), {} ({}) and {} ({})", request.verilog.filename().string(),
                  plain(joined({"module " + module->name, verilog.generator}, "; ")),
                  request.sdf.filename().string(), plain(sdf.program.empty() ? "delays" : sdf.program),
                  request.liberty.filename().string(), plain(library.name));
  if (!request.remark.empty()) netlist.provenance += "\n" + plain(request.remark);
  if (netlist.voltage_v <= 0)
    result.warnings.push_back(
        "neither the delays nor the library say for which voltage they hold; chip descriptions must then say "
        "it");
  if (sdf.merged_conditions > 0)
    result.warnings.push_back(
        fmt::format("{} delays of {} hold only under a condition (COND); of each pin's the "
                    "slowest is taken",
                    sdf.merged_conditions, files.sdf));
  return result;
}

}  // namespace kintsugi::faults

// `kintsugi fault-map show` and `diff`: maps for the eye.
#include <fmt/format.h>

#include <algorithm>
#include <iostream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <tuple>

#include "common/files.h"
#include "faults/report.h"
#include "sim/fault_map_command.h"

namespace kintsugi::sim {
namespace {

namespace po = boost::program_options;

std::string describe(const faults::Fault& fault) {
  std::string out = fmt::format("row {}, col {}", fault.row, fault.col);
  if (fault.stuck)
    out += fmt::format(", {} bit {} stuck at {}", faults::to_string(fault.stuck->site), fault.stuck->bit,
                       fault.stuck->value);
  else
    out += ", nature unknown";
  return out + (fault.escape ? ", escape" : "");
}

nlohmann::ordered_json to_json(const std::string& file, const faults::FaultReport& report) {
  nlohmann::ordered_json json;
  json["fault_map"] = file;
  json["chip"] = report.chip;
  json["rows"] = report.rows;
  json["cols"] = report.cols;
  json["faults"] = report.faults;
  json["faulty_pes"] = report.faulty_pes;
  json["fault_rate"] = report.fault_rate;
  for (int i = 0; i < pe::kSites; ++i)
    json["faults_by_site"][faults::to_string(static_cast<pe::Site>(i))] = report.by_site[i];
  json["faults_by_site"]["unknown"] = report.unknown;
  json["escapes"] = report.escapes;
  json["bypassed_pes"] = report.bypassed_pes;
  json["false_alarms"] = report.false_alarms;
  json["assumed_maskable"] = report.assumed_maskable;
  json["uncomputable_pes"] = report.uncomputable;
  json["columns_reached"] = report.columns_reached;
  json["not_hidden"] = nlohmann::ordered_json::array();
  for (const faults::LiveFault& live : report.live)
    json["not_hidden"].push_back({{"row", live.fault.row},
                                  {"col", live.fault.col},
                                  {"site", faults::to_string(live.fault.stuck->site)},
                                  {"bit", live.fault.stuck->bit},
                                  {"stuck_at", live.fault.stuck->value},
                                  {"escape", live.fault.escape},
                                  {"bypassed", live.bypassed},
                                  {"columns", live.columns}});
  return json;
}

auto key(const faults::Fault& fault) {
  return std::tuple(fault.row, fault.col, fault.stuck ? static_cast<int>(fault.stuck->site) : -1,
                    fault.stuck ? fault.stuck->bit : -1, fault.stuck ? fault.stuck->value : -1, fault.escape);
}

}  // namespace

int fault_map_show(const std::vector<std::string>& arguments) {
  OptionParser parser("kintsugi fault-map show MAP... [--bypass-map FILE | --no-bypass] [--chip FILE]",
                      "Prints a chip's faults by site, the rows and columns most hit, what the bypass cannot "
                      "hide and what that reaches,\n"
                      "and a picture of where the faults lie. With --out, also writes it all to report.json.",
                      "kintsugi fault-map show lot7/chip-0001.yaml --chip configs/chips/tpu256.yaml");
  add_geometry_options(parser);
  add_bypass_options(parser);
  parser.own().add_options()("map", po::value<std::vector<std::string>>()->required()->value_name("FILE"),
                             "one or more fault maps; --map itself may be left out")(
      "width", po::value<std::string>()->value_name("N"),
      "width of the picture in characters (default 64; 0 leaves it out)")(
      "list", po::value<std::string>()->value_name("N"),
      "how many faults that are not hidden are listed one by one (default 10)");
  parser.positional("map", -1);
  for (const char* unused : {"seed", "threads", "data-dir"}) parser.without(unused);
  parser.reads({"chip", "fault_map"});
  if (!parser.parse(arguments)) return kExitDone;
  const int width = static_cast<int>(integer_option(parser, "width", 0, 1024, 64));
  const int most = static_cast<int>(integer_option(parser, "list", 0, 1 << 20, 10));
  const auto geometry = geometry_of(parser);
  const BypassChoice bypass = bypass_of(parser);

  auto json = nlohmann::ordered_json::array();
  bool first = true;
  for (const std::string& path : parser.values()["map"].as<std::vector<std::string>>()) {
    const faults::FaultMap map = faults::read_fault_map(path, geometry, parser.common().set);
    const auto report =
        faults::make_report(map, faults::bypass_bits(map, bypass.source, bypass.map_or_null()));
    if (!first) std::cout << "\n";
    first = false;
    std::cout << faults::to_text(report, most);
    if (width > 0) std::cout << faults::density_picture(map, width);
    if (!parser.common().out.empty()) json.push_back(to_json(path, report));
  }
  if (!parser.common().out.empty())
    common::write_file_atomic(parser.common().out / "report.json", json.dump(2) + "\n");
  return kExitDone;
}

int fault_map_diff(const std::vector<std::string>& arguments) {
  OptionParser parser("kintsugi fault-map diff FIRST SECOND",
                      "Compares two fault maps, of any format: exit status 0 if they describe the same "
                      "faults of the same array, 1 if\n"
                      "not. Other chip ids or another meta are mentioned, but make no difference.",
                      "kintsugi fault-map diff lot7/chip-0001.yaml lot8/chip-0001.yaml");
  parser.own().add_options()("first", po::value<std::string>()->required()->value_name("FILE"),
                             "a fault map; --first itself may be left out")(
      "second", po::value<std::string>()->required()->value_name("FILE"),
      "another fault map; --second itself may be left out")(
      "list", po::value<std::string>()->value_name("N"),
      "how many differences are listed one by one (default 20)");
  parser.positional("first", 1);
  parser.positional("second", 1);
  for (const char* unused : {"out", "seed", "threads", "data-dir", "set"}) parser.without(unused);
  if (!parser.parse(arguments)) return kExitDone;
  const std::int64_t most = integer_option(parser, "list", 0, 1 << 20, 20);
  const std::string first = parser.text("first"), second = parser.text("second");
  const faults::FaultMap a = faults::read_fault_map(first), b = faults::read_fault_map(second);

  if (a.chip != b.chip) std::cout << fmt::format("note: chip ids differ: {} and {}\n", a.chip, b.chip);
  if (a.meta != b.meta) std::cout << "note: meta differs\n";
  if (a.rows != b.rows || a.cols != b.cols) {
    std::cout << fmt::format("different: {} is for {}x{} PEs, {} for {}x{}\n", first, a.rows, a.cols, second,
                             b.rows, b.cols);
    return kExitNo;
  }
  const auto less = [](const faults::Fault& x, const faults::Fault& y) { return key(x) < key(y); };
  std::vector<faults::Fault> gone, added;
  std::set_difference(a.faults.begin(), a.faults.end(), b.faults.begin(), b.faults.end(),
                      std::back_inserter(gone), less);
  std::set_difference(b.faults.begin(), b.faults.end(), a.faults.begin(), a.faults.end(),
                      std::back_inserter(added), less);
  if (gone.empty() && added.empty()) {
    if (!parser.common().quiet)
      std::cout << fmt::format("same: {} faults on {} PEs\n", a.faults.size(), a.faulty_pes());
    return kExitDone;
  }
  std::cout << fmt::format("different: {} faults only in {} (-), {} only in {} (+), {} in both\n",
                           gone.size(), first, added.size(), second, a.faults.size() - gone.size());
  // One list in map order, so that a changed bit shows as a pair of lines.
  std::vector<std::pair<char, const faults::Fault*>> changes;
  for (const auto& fault : gone) changes.emplace_back('-', &fault);
  for (const auto& fault : added) changes.emplace_back('+', &fault);
  std::stable_sort(changes.begin(), changes.end(), [](const auto& x, const auto& y) {
    return std::pair(x.second->row, x.second->col) < std::pair(y.second->row, y.second->col);
  });
  for (std::size_t i = 0; i < changes.size() && i < static_cast<std::size_t>(most); ++i)
    std::cout << fmt::format("  {} {}\n", changes[i].first, describe(*changes[i].second));
  if (changes.size() > static_cast<std::size_t>(most))
    std::cout << fmt::format("  ... and {} more\n", changes.size() - static_cast<std::size_t>(most));
  return kExitNo;
}

}  // namespace kintsugi::sim

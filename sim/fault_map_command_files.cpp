// `kintsugi fault-map import`, `check` and `convert`: files in, files out.
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <iostream>

#include "common/files.h"
#include "faults/lot_io.h"
#include "sim/fault_map_command.h"

namespace kintsugi::sim {
namespace {

namespace po = boost::program_options;

// The first fault of the file as it stands there and as it was understood: a swapped or shifted index shows.
std::string orientation_text(const faults::LotFormat& format, const std::vector<faults::FaultMap>& maps) {
  const std::string& row_from = format.transpose ? format.col_column : format.row_column;
  const std::string& col_from = format.transpose ? format.row_column : format.col_column;
  int last_row = -1, last_col = -1;
  const faults::FaultMap* chip = nullptr;
  const faults::Fault* example = nullptr;  // row and column differ, if any do
  for (const faults::FaultMap& map : maps) {
    for (const faults::Fault& fault : map.faults) {
      last_row = std::max(last_row, fault.row);
      last_col = std::max(last_col, fault.col);
      if (example != nullptr && (example->row != example->col || fault.row == fault.col)) continue;
      chip = &map;
      example = &fault;
    }
  }
  std::string out =
      fmt::format("orientation: '{}' is the array's row, '{}' its column{}; index base {}\n", row_from,
                  col_from, format.transpose ? " (transposed)" : "", format.index_base);
  if (example == nullptr) return out;
  out += fmt::format("             for example chip {}: {} {}, {} {} is row {}, col {} here\n", chip->chip,
                     row_from, example->row + format.index_base, col_from, example->col + format.index_base,
                     example->row, example->col);
  return out + fmt::format("             highest row with a fault {} of {}, highest column {} of {}\n",
                           last_row, format.rows - 1, last_col, format.cols - 1);
}

}  // namespace

int fault_map_import(const std::vector<std::string>& arguments) {
  OptionParser parser(
      "kintsugi fault-map import LOT.csv (--chip FILE | --rows N --cols N) [--out DIR | --lot FILE]",
      "Reads a tester's CSV of a whole lot, a line per fault, and checks every line. Prints what was found "
      "and how\n"
      "rows and columns were understood; writes one fault map per chip, or a CSV with the standard columns, "
      "which a\n"
      "campaign takes directly. A line without row and column stands for a chip without faults.",
      "kintsugi fault-map import lot.csv --chip configs/chips/tpu256.yaml --chip-column DIE --row-column R "
      "--col-column C --index-base 1 --transpose --out lot7");
  add_geometry_options(parser);
  const auto word = [](const char* name) { return po::value<std::string>()->value_name(name); };
  parser.own().add_options()("input", po::value<std::string>()->required()->value_name("FILE"),
                             "the lot's CSV; --input itself may be left out")(
      "chip-column", word("NAME"), "column of the chip's id (default chip)")(
      "row-column", word("NAME"), "column of the row (default row)")("col-column", word("NAME"),
                                                                     "column of the column (default col)")(
      "site-column", word("NAME"), "column of the site, if there is one (default site)")(
      "bit-column", word("NAME"), "column of the bit (default bit)")(
      "stuck-at-column", word("NAME"), "column of the value, 0 or 1 (default stuck_at)")(
      "wafer-column", word("NAME"), "column of the chip's wafer, if there is one (default wafer)")(
      "index-base", word("N"), "number of the first row and column in the file, 0 (default) or 1")(
      "transpose", po::bool_switch(), "the file's rows are the array's columns")(
      "merge-duplicates", po::bool_switch(),
      "count a fault that is listed twice once, instead of refusing it")("gzip", po::bool_switch(),
                                                                         "write *.yaml.gz")(
      "lot", word("FILE"), "write one CSV with the standard columns, instead of --out DIR");
  parser.positional("input", 1);
  for (const char* unused : {"seed", "data-dir"}) parser.without(unused);
  parser.reads({"chip"});
  if (!parser.parse(arguments)) return kExitDone;
  const auto& options = parser.common();
  if (!options.out.empty() && parser.has("lot"))
    option_error("--out DIR and --lot FILE exclude each other; give one");

  faults::LotFormat format;
  const auto geometry = required_geometry(parser, "a lot's CSV does not say how large the array is");
  format.rows = geometry.rows;
  format.cols = geometry.cols;
  format.accumulator_bits = geometry.accumulator_bits;
  const auto column = [&](const char* option, std::string& name) {
    if (parser.has(option)) name = parser.text(option);
  };
  column("chip-column", format.chip_column);
  column("row-column", format.row_column);
  column("col-column", format.col_column);
  column("site-column", format.site_column);
  column("bit-column", format.bit_column);
  column("stuck-at-column", format.stuck_at_column);
  column("wafer-column", format.wafer_column);
  format.index_base = static_cast<int>(integer_option(parser, "index-base", 0, 1, 0));
  format.transpose = parser.values()["transpose"].as<bool>();
  format.merge_duplicates = parser.values()["merge-duplicates"].as<bool>();

  const std::filesystem::path input = parser.text("input");
  const faults::Lot lot(input, format);
  std::vector<faults::FaultMap> maps;
  std::int64_t clean = 0, faulty_pes = 0;
  for (std::size_t i = 0; i < lot.size(); ++i) {
    maps.push_back(lot.map(i));
    clean += maps.back().faults.empty();
    faulty_pes += maps.back().faulty_pes();
    maps.back().meta += fmt::format("imported_from: \"{}\"\n", [&] {
      std::string name;
      for (const char c : input.filename().string())
        name += c == '"' || c == '\\' ? std::string("\\") + c : std::string(1, c);
      return name;
    }());
  }
  std::cout << fmt::format("{}: {} chips of {}x{} PEs, {} of them without a fault; {} faults on {} PEs{}\n",
                           input.string(), lot.size(), format.rows, format.cols, clean, lot.faults(),
                           faulty_pes,
                           lot.merged_duplicates() > 0
                               ? fmt::format("; {} duplicate lines merged", lot.merged_duplicates())
                               : "")
            << orientation_text(format, maps);
  if (parser.has("lot")) {
    common::write_file_atomic(parser.text("lot"), faults::lot_csv(maps));
    std::cout << "written to " << parser.text("lot") << "\n";
  } else if (!options.out.empty()) {
    write_map_folder(options.out, maps, parser.values()["gzip"].as<bool>(), options);
    std::cout << "written to " << options.out.string() << "\n";
  } else {
    std::cout << "nothing is written without --out DIR or --lot FILE\n";
  }
  return kExitDone;
}

int fault_map_check(const std::vector<std::string>& arguments) {
  OptionParser parser("kintsugi fault-map check MAP... [--chip FILE | --rows N --cols N]",
                      "Reads fault maps and lists every problem of every file with its line and column: exit "
                      "status 0 if there is none,\n"
                      "2 otherwise. With a chip, also checks size and bits against it.",
                      "kintsugi fault-map check lot7/*.yaml --chip configs/chips/tpu256.yaml");
  add_geometry_options(parser);
  parser.own().add_options()("map", po::value<std::vector<std::string>>()->required()->value_name("FILE"),
                             "one or more fault maps; --map itself may be left out");
  parser.positional("map", -1);
  for (const char* unused : {"out", "seed", "threads", "data-dir"}) parser.without(unused);
  parser.reads({"chip", "fault_map"});
  if (!parser.parse(arguments)) return kExitDone;
  const auto geometry = geometry_of(parser);
  std::string problems;
  std::int64_t good = 0;
  for (const std::string& path : parser.values()["map"].as<std::vector<std::string>>()) {
    try {
      const faults::FaultMap map = faults::read_fault_map(path, geometry, parser.common().set);
      ++good;
      if (!parser.common().quiet)
        std::cout << fmt::format("{}: ok: chip {}, {}x{} PEs, {} faulty\n", path, map.chip, map.rows,
                                 map.cols, map.faulty_pes());
    } catch (const common::InputError& problem) {
      problems += (problems.empty() ? "" : "\n") + std::string(problem.what());
    }
  }
  if (!problems.empty()) throw common::InputError(problems);
  return kExitDone;
}

int fault_map_convert(const std::vector<std::string>& arguments) {
  OptionParser parser("kintsugi fault-map convert FROM TO [--chip FILE | --rows N --cols N]",
                      "Rewrites a fault map in the format that TO's name says: *.yaml, *.yaml.gz, or *.csv "
                      "(a 0/1 grid, which keeps only\n"
                      "where the faulty PEs are).",
                      "kintsugi fault-map convert lot7/chip-0001.yaml chip-0001.csv");
  add_geometry_options(parser);
  parser.own().add_options()("from", po::value<std::string>()->required()->value_name("FILE"),
                             "the map to read; --from itself may be left out")(
      "to", po::value<std::string>()->required()->value_name("FILE"),
      "the file to write; --to itself may be left out");
  parser.positional("from", 1);
  parser.positional("to", 1);
  for (const char* unused : {"out", "seed", "threads", "data-dir"}) parser.without(unused);
  parser.reads({"chip", "fault_map"});
  if (!parser.parse(arguments)) return kExitDone;
  const faults::FaultMap map =
      faults::read_fault_map(parser.text("from"), geometry_of(parser), parser.common().set);
  const std::filesystem::path to = parser.text("to");
  const bool grid = to.extension() == ".csv" || (to.extension() == ".gz" && to.stem().extension() == ".csv");
  if (grid) {
    const auto known = std::count_if(map.faults.begin(), map.faults.end(),
                                     [](const auto& fault) { return fault.stuck.has_value(); });
    const auto escapes =
        std::count_if(map.faults.begin(), map.faults.end(), [](const auto& fault) { return fault.escape; });
    if (known > 0)
      spdlog::warn(
          "a grid has no place for site, bit and value: {} of unknown nature",
          known == 1 ? std::string("1 fault becomes one") : fmt::format("{} faults become faults", known));
    if (escapes > 0)
      spdlog::warn("a grid has no place for escapes: {}",
                   escapes == 1 ? std::string("1 escape becomes a detected fault")
                                : fmt::format("{} escapes become detected faults", escapes));
    if (!map.meta.empty()) spdlog::warn("a grid has no place for meta, which is left out");
  }
  faults::write_fault_map(to, map);
  if (!parser.common().quiet)
    std::cout << fmt::format("{}: chip {}, {}x{} PEs, {} faulty\n", to.string(), map.chip, map.rows, map.cols,
                             map.faulty_pes());
  return kExitDone;
}

}  // namespace kintsugi::sim

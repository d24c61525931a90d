// Reading and checking maps; fault_map_write.cpp writes them.
#include "faults/fault_map_io.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "common/csv.h"
#include "common/files.h"
#include "common/text.h"
#include "faults/fault_checker.h"
#include "faults/meta_text.h"

namespace kintsugi::faults {
namespace {

struct Span {
  int first = 0;
  int last = -1;  // inclusive; below `first`: could not be read
};

// "12", "4-7" or "all".
Span read_span(configs::Section& section, const std::string& name, int size) {
  const std::string allowed =
      fmt::format("a number from 0 to {}, a range like 0-{}, or all", size - 1, size - 1);
  if (!section.has(name)) {
    section.error(fmt::format("a fault needs the key '{}': {}", name, allowed));
    return {};
  }
  const YAML::Node node = section.raw(name);
  const std::string text = node.IsScalar() ? node.Scalar() : "";
  if (text == "all") return {0, size - 1};
  const auto dash = text.find('-', 1);
  const auto first = common::parse_integer(text.substr(0, dash));
  const auto last = dash == std::string::npos ? first : common::parse_integer(text.substr(dash + 1));
  if (!first || !last) {
    section.error(name, fmt::format("'{}' must be {}, but is {}", name, allowed,
                                    node.IsScalar() ? "'" + text + "'" : "a list or a mapping"));
    return {};
  }
  if (*first > *last) {
    section.error(name, fmt::format("'{}' is the range {}, which runs backwards; write {}-{}", name, text,
                                    *last, *first));
    return {};
  }
  if (*first < 0 || *last >= size) {
    section.error(name, fmt::format("'{}' must be {}, but is {}", name, allowed, text));
    return {};
  }
  return {static_cast<int>(*first), static_cast<int>(*last)};
}

std::vector<std::pair<std::string, pe::Site>> site_words() {
  std::vector<std::pair<std::string, pe::Site>> words;
  for (int i = 0; i < pe::kSites; ++i)
    words.emplace_back(to_string(static_cast<pe::Site>(i)), static_cast<pe::Site>(i));
  return words;
}

// site, bit and stuck_at: all three or none. `ok` becomes false if a problem was reported.
std::optional<StuckAt> read_stuck_at(configs::Section& section, int accumulator_bits, bool& ok) {
  static const auto words = site_words();
  const bool site = section.has("site"), bit = section.has("bit"), value = section.has("stuck_at");
  if (!site && !bit && !value) return std::nullopt;
  std::vector<std::string> missing;
  if (!site) missing.push_back("'site'");
  if (!bit) missing.push_back("'bit'");
  if (!value) missing.push_back("'stuck_at'");
  if (!missing.empty()) {
    section.error(
        fmt::format("a fault of known nature has 'site', 'bit' and 'stuck_at'; {} missing here (without "
                    "all three the PE is known to be bad, nature unknown)",
                    missing.size() == 1 ? missing[0] + " is" : missing[0] + " and " + missing[1] + " are"));
    ok = false;
  }
  StuckAt stuck;
  bool site_known = false;
  if (site) {
    const YAML::Node node = section.raw("site");
    const auto found = node.IsScalar() ? site_from(node.Scalar()) : std::nullopt;
    site_known = found.has_value();
    if (found)
      stuck.site = *found;
    else
      section.choice<pe::Site>("site", words);  // says what is allowed
  }
  if (bit) {
    const YAML::Node node = section.raw("bit");
    const auto number = node.IsScalar() ? common::parse_integer(node.Scalar()) : std::nullopt;
    if (number && site_known) {
      const std::string problem = bit_problem(stuck.site, *number, accumulator_bits);
      if (!problem.empty()) section.error("bit", problem);
      ok = ok && problem.empty();
      stuck.bit = static_cast<int>(std::clamp<std::int64_t>(*number, 0, 31));
    } else {
      const int highest = site_known ? pe::site_bits(stuck.site, accumulator_bits) - 1 : accumulator_bits - 1;
      stuck.bit = static_cast<int>(section.integer("bit", 0, highest));
      ok = ok && number.has_value();
    }
  }
  if (value) {
    const YAML::Node node = section.raw("stuck_at");
    const auto number = node.IsScalar() ? common::parse_integer(node.Scalar()) : std::nullopt;
    ok = ok && number && (*number == 0 || *number == 1);
    stuck.value = static_cast<int>(section.integer("stuck_at", 0, 1));
  }
  ok = ok && site_known;
  return stuck;
}

void read_faults(configs::Section& root, FaultMap& map, int accumulator_bits,
                 common::Diagnostics& diagnostics) {
  FaultChecker checker(0, 0, accumulator_bits, diagnostics);
  for (configs::Section& entry : root.sections("faults")) {
    bool ok = true;
    const Span rows = read_span(entry, "row", map.rows);
    const Span cols = read_span(entry, "col", map.cols);
    Fault fault;
    fault.stuck = read_stuck_at(entry, accumulator_bits, ok);
    fault.escape = entry.boolean("escape", false);
    fault.where = entry.where();
    if (fault.escape && !fault.stuck && ok) {
      entry.error("escape",
                  "an escape is live on the chip, so its nature must be known; give 'site', 'bit' and "
                  "'stuck_at', or remove 'escape'");
      ok = false;
    }
    if (!ok) continue;
    for (fault.row = rows.first; fault.row <= rows.last; ++fault.row)
      for (fault.col = cols.first; fault.col <= cols.last; ++fault.col)
        if (checker.accept(fault)) map.faults.push_back(fault);
  }
  checker.finish();
}

// chip-0007.yaml.gz -> chip-0007
std::string stem(const std::filesystem::path& path) {
  std::filesystem::path name = path.filename();
  if (name.extension() == ".gz") name = name.stem();
  return name.stem().string();
}

std::string size_problem(const char* key, int found, int expected) {
  return fmt::format("the map has {} {}, the chip's array has {}; use the map of this chip", found, key,
                     expected);
}

FaultMap read_yaml(const std::filesystem::path& path, const std::string& text,
                   const std::optional<ArrayGeometry>& array, const configs::Overrides& overrides) {
  configs::YamlFile file(path, "fault_map", overrides);
  configs::Section root = file.root();
  FaultMap map;
  root.integer("version", 1, 1);
  map.chip = root.text("chip", stem(path));
  map.rows = static_cast<int>(root.integer("rows", 1, kMaxArrayDimension));
  map.cols = static_cast<int>(root.integer("cols", 1, kMaxArrayDimension));
  if (array && root.has("rows") && map.rows != array->rows)
    root.error("rows", size_problem("rows", map.rows, array->rows));
  if (array && root.has("cols") && map.cols != array->cols)
    root.error("cols", size_problem("columns", map.cols, array->cols));

  if (root.has("meta")) {
    const YAML::Node meta = root.raw("meta");
    const bool overridden = std::any_of(overrides.begin(), overrides.end(),
                                        [](const auto& o) { return o.key.starts_with("fault_map.meta"); });
    if (meta.IsMap())
      map.meta = overridden ? YAML::Dump(meta) + "\n" : meta_text(text, root.where("meta"));
    else if (!meta.IsNull())
      root.error("meta", "'meta' must be a mapping (lot, wafer, temperature, whatever is worth keeping)");
  }
  read_faults(root, map, array ? array->accumulator_bits : 32, file.diagnostics());
  file.finish();
  map.sort();
  return map;
}

FaultMap read_grid(const std::filesystem::path& path, const std::string& text,
                   const std::optional<ArrayGeometry>& array) {
  const std::string name = path.string();
  common::Diagnostics diagnostics;
  diagnostics.add_source(name, text);
  const auto lines = common::parse_csv(text, name, diagnostics);
  FaultMap map;
  map.chip = stem(path);
  map.rows = static_cast<int>(lines.size());
  map.cols = lines.empty() ? 0 : static_cast<int>(lines.front().cells.size());
  if (lines.empty())
    diagnostics.error({name}, "the file is empty; a CSV grid has one line of 0s and 1s per row");
  if (array && map.rows != array->rows)
    diagnostics.error({name}, size_problem("rows", map.rows, array->rows));
  if (array && map.cols != array->cols)
    diagnostics.error({name}, size_problem("columns", map.cols, array->cols));
  if (map.rows > kMaxArrayDimension || map.cols > kMaxArrayDimension)
    diagnostics.error({name}, fmt::format("the grid has {} rows and {} columns; at most {} of each exist",
                                          map.rows, map.cols, kMaxArrayDimension));
  for (int r = 0; r < map.rows; ++r) {
    const common::CsvRow& line = lines[r];
    if (static_cast<int>(line.cells.size()) != map.cols)
      diagnostics.error({name, line.line, 0},
                        fmt::format("this row has {} cells, the first has {}; every row of a "
                                    "grid has one cell per column of the array",
                                    line.cells.size(), map.cols));
    for (int c = 0; c < static_cast<int>(line.cells.size()); ++c) {
      const common::CsvCell& cell = line.cells[c];
      const common::Location where{name, line.line, cell.column};
      if (cell.text == "1")
        map.faults.push_back({r, c, std::nullopt, false, where});
      else if (cell.text != "0")
        diagnostics.error(
            where, fmt::format("a cell of a grid is 0 (good) or 1 (bad), but this is '{}'", cell.text));
    }
  }
  diagnostics.throw_if_any();
  return map;
}

bool is_csv(const std::filesystem::path& path) {
  return path.extension() == ".csv" || (path.extension() == ".gz" && path.stem().extension() == ".csv");
}

}  // namespace

FaultMap read_fault_map(const std::filesystem::path& path, const std::optional<ArrayGeometry>& array,
                        const configs::Overrides& overrides) {
  const std::string text = common::read_file_maybe_gzip(path);
  const std::size_t start = text.find_first_not_of("\xef\xbb\xbf \t\r\n");
  const bool digits = start != std::string::npos && (text[start] == '0' || text[start] == '1');
  if (digits) return read_grid(path, text, array);
  if (is_csv(path) && start != std::string::npos && text.find("fault_map:") == std::string::npos) {
    throw common::InputError(
        {path.string(), 1, 0},
        "this is not a 0/1 grid of one chip; if it is the long CSV of a lot, read it with "
        "'kintsugi fault-map import' (or name it as the lot of a campaign)");
  }
  return read_yaml(path, text, array, overrides);
}

void check_against(const FaultMap& map, int rows, int cols, int accumulator_bits) {
  common::Diagnostics diagnostics;
  const std::string name = map.chip.empty() ? "fault map" : fmt::format("fault map of {}", map.chip);
  std::set<std::string> files;
  for (const Fault& fault : map.faults)
    if (!fault.where.file.empty()) files.insert(fault.where.file);
  for (const std::string& file : files) {
    std::error_code ignored;
    if (std::filesystem::is_regular_file(file, ignored))
      diagnostics.add_source(file, common::read_file_maybe_gzip(file));
  }
  const common::Location whole{files.size() == 1 ? *files.begin() : name};
  if (map.rows != rows) diagnostics.error(whole, size_problem("rows", map.rows, rows));
  if (map.cols != cols) diagnostics.error(whole, size_problem("columns", map.cols, cols));
  diagnostics.throw_if_any();

  FaultChecker checker(rows, cols, accumulator_bits, diagnostics);
  for (Fault fault : map.faults) {
    if (fault.where.file.empty()) fault.where = {name};
    checker.accept(fault);
  }
  checker.finish();
  diagnostics.throw_if_any();
}

}  // namespace kintsugi::faults

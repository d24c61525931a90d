#include "faults/lot_io.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <iterator>
#include <map>
#include <optional>
#include <set>
#include <stdexcept>
#include <string_view>
#include <tuple>
#include <unordered_map>

#include "common/csv.h"
#include "common/files.h"
#include "common/text.h"
#include "faults/fault_checker.h"
#include "faults/fault_map_io.h"
#include "faults/wafer.h"

namespace kintsugi::faults {
namespace {

// A file with the wrong index base can be wrong on each of a million lines.
constexpr std::size_t kMostProblems = 1000;

enum Column { kChip, kRow, kCol, kSite, kBit, kStuckAt, kEscape, kWafer, kColumns };

// The column that was probably meant: another spelling in upper and lower case, or the nearest word.
std::optional<std::string> similar(const std::string& name, const std::vector<std::string>& found) {
  const auto lower = [](std::string word) {
    for (char& c : word) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    return word;
  };
  for (const std::string& column : found)
    if (lower(column) == lower(name)) return column;
  return common::nearest(name, found);
}

// As common::CsvCell, of a text that somebody else keeps.
struct Cell {
  std::string_view text;
  int column = 0;
};

// Splits without copying; lines with quotes take the general parser, which puts its cells into `quoted`.
void split_cells(std::string_view line, const std::string& file, int number, common::Diagnostics& diagnostics,
                 std::vector<common::CsvRow>& quoted, std::vector<Cell>& cells) {
  cells.clear();
  if (line.find('"') != std::string_view::npos) {
    common::Diagnostics quotes;
    quoted = common::parse_csv(line, file, quotes);
    if (!quotes.empty()) diagnostics.error({file, number, 0}, "a quote is never closed on this line");
    if (quoted.empty()) return;
    for (const common::CsvCell& cell : quoted.front().cells) cells.push_back({cell.text, cell.column});
    return;
  }
  for (std::size_t begin = 0;;) {
    const std::size_t end = std::min(line.find(',', begin), line.size());
    std::string_view cell = line.substr(begin, end - begin);
    while (!cell.empty() && (cell.front() == ' ' || cell.front() == '\t')) cell.remove_prefix(1);
    while (!cell.empty() && (cell.back() == ' ' || cell.back() == '\t')) cell.remove_suffix(1);
    cells.push_back({cell, static_cast<int>(begin) + 1});
    if (end == line.size()) return;
    begin = end + 1;
  }
}

}  // namespace

// Reads the file line by line into packed faults.
struct Lot::Reader {
  Lot& lot;
  const LotFormat& format;
  std::string file;
  common::Diagnostics diagnostics;
  std::size_t left_out = 0;
  std::array<int, kColumns> at{};  // index of each column in the file, −1 if it has none
  std::size_t header_cells = 0;
  std::unordered_map<std::string, std::size_t> chip_number;
  std::optional<std::size_t> last_chip;  // lines of a chip mostly stand together
  std::vector<std::vector<int>> lines;   // of each fault, as in lot.chips_
  std::map<std::size_t, int> clean;      // chips listed as without faults, with the line that says so
  struct Wafer {
    std::string name;  // "": not known
    int line = 0;      // that says so
  };
  std::vector<Wafer> wafers = {};  // of each chip

  void error(const common::Location& where, const std::string& message) {
    if (diagnostics.size() < kMostProblems)
      diagnostics.error(where, message);
    else
      ++left_out;
  }

  void read_header(const std::vector<Cell>& cells, int line) {
    const std::array<const std::string*, kColumns> names = {
        &format.chip_column, &format.row_column,      &format.col_column,    &format.site_column,
        &format.bit_column,  &format.stuck_at_column, &format.escape_column, &format.wafer_column};
    const LotFormat standard;
    const std::array<const std::string*, kColumns> standard_names = {
        &standard.chip_column, &standard.row_column,      &standard.col_column,    &standard.site_column,
        &standard.bit_column,  &standard.stuck_at_column, &standard.escape_column, &standard.wafer_column};
    std::vector<std::string> found;
    for (const auto& cell : cells) found.emplace_back(cell.text);
    header_cells = cells.size();
    for (int i = 0; i < kColumns; ++i) {
      const auto place = std::find(found.begin(), found.end(), *names[i]);
      at[i] = place == found.end() ? -1 : static_cast<int>(place - found.begin());
      // site, bit, stuck_at, escape and wafer may be absent unless the user named the column.
      const bool needed = i <= kCol || *names[i] != *standard_names[i];
      if (at[i] >= 0 || !needed) continue;
      const auto near = similar(*names[i], found);
      error({file, line, 0},
            fmt::format("there is no column '{}'{}; the columns are {}; say which is which with the "
                        "options --chip-column, --row-column and --col-column of 'kintsugi fault-map import'",
                        *names[i], near ? fmt::format(", did you mean '{}'?", *near) : "",
                        common::join(found)));
    }
    const int nature = (at[kSite] >= 0) + (at[kBit] >= 0) + (at[kStuckAt] >= 0);
    if (nature != 0 && nature != 3)
      error({file, line, 0},
            fmt::format("the columns '{}', '{}' and '{}' go together; the file has only some of them",
                        format.site_column, format.bit_column, format.stuck_at_column));
    std::set<std::string> once;
    for (const auto& cell : cells)
      if (!once.emplace(cell.text).second)
        error({file, line, cell.column}, fmt::format("the column '{}' is there twice", cell.text));
  }

  std::optional<int> index(const Cell& cell, const std::string& column, int size, int line) {
    const auto number = common::parse_integer(cell.text);
    if (number && *number >= format.index_base && *number < size + format.index_base)
      return static_cast<int>(*number) - format.index_base;
    error({file, line, cell.column},
          fmt::format("'{}' must be a number from {} to {} (index base {}), but is '{}'", column,
                      format.index_base, size - 1 + format.index_base, format.index_base, cell.text));
    return std::nullopt;
  }

  std::size_t chip_of(std::string_view id) {
    if (last_chip && lot.ids_[*last_chip] == id) return *last_chip;
    const auto [chip, added] = chip_number.try_emplace(std::string(id), lot.ids_.size());
    if (added) {
      lot.ids_.emplace_back(id);
      lot.chips_.emplace_back();
      lines.emplace_back();
      wafers.emplace_back();
    }
    last_chip = chip->second;
    return chip->second;
  }

  void read_wafer(std::size_t chip, const Cell& cell, int line) {
    Wafer& known = wafers[chip];
    if (cell.text.empty() || cell.text == known.name) return;
    if (known.name.empty())
      known = {std::string(cell.text), line};
    else
      error({file, line, cell.column},
            fmt::format("{} is of wafer '{}' here and of '{}' on line {}; a chip comes from one wafer",
                        lot.ids_[chip], cell.text, known.name, known.line));
  }

  void read_line(const std::vector<Cell>& cells, int line) {
    if (cells.size() != header_cells) {
      error({file, line, 0},
            fmt::format("this line has {} cells, the header has {}", cells.size(), header_cells));
      return;
    }
    static const Cell kNone;
    const auto cell = [&](Column column) -> const Cell& {
      return at[column] < 0 ? kNone : cells[at[column]];
    };
    if (cell(kChip).text.empty()) {
      error({file, line, cell(kChip).column}, "a chip's id is missing; every line names its chip");
      return;
    }
    const std::size_t chip = chip_of(cell(kChip).text);
    read_wafer(chip, cell(kWafer), line);
    const bool no_row = cell(kRow).text.empty(), no_col = cell(kCol).text.empty();
    if (no_row && no_col) {
      if (!cell(kSite).text.empty() || !cell(kBit).text.empty() || !cell(kStuckAt).text.empty())
        error({file, line, 0},
              "a line without row and column says that the chip has no faults, but this one names a fault");
      clean.try_emplace(chip, line);
      return;
    }
    // The file's first index runs along the array's columns if it is transposed.
    const int first_size = format.transpose ? lot.cols_ : lot.rows_;
    const int second_size = format.transpose ? lot.rows_ : lot.cols_;
    const auto first = index(cell(kRow), format.row_column, first_size, line);
    const auto second = index(cell(kCol), format.col_column, second_size, line);
    Packed fault{0, 0, -1, 0, 0, 0};
    bool ok = read_nature(cell(kSite), cell(kBit), cell(kStuckAt), line, fault);
    const Cell& escape = cell(kEscape);
    if (!escape.text.empty()) {
      const auto value = common::parse_boolean(escape.text);
      if (!value)
        error({file, line, escape.column},
              fmt::format("'{}' must be true or false, but is '{}'", format.escape_column, escape.text));
      fault.escape = value.value_or(false) ? 1 : 0;
      if (fault.escape != 0 && fault.site < 0 && ok)
        error({file, line, escape.column},
              "an escape is live on the chip, so its site, bit and stuck_at must be given");
    }
    if (!first || !second || !ok) return;
    fault.row = static_cast<std::int16_t>(format.transpose ? *second : *first);
    fault.col = static_cast<std::int16_t>(format.transpose ? *first : *second);
    lot.chips_[chip].push_back(fault);
    lines[chip].push_back(line);
  }

  bool read_nature(const Cell& site, const Cell& bit, const Cell& stuck_at, int line, Packed& fault) {
    if (site.text.empty() && bit.text.empty() && stuck_at.text.empty()) return true;
    if (site.text.empty() || bit.text.empty() || stuck_at.text.empty()) {
      error({file, line, 0},
            fmt::format("'{}', '{}' and '{}' are given together, or all left empty for a fault of "
                        "unknown nature",
                        format.site_column, format.bit_column, format.stuck_at_column));
      return false;
    }
    const auto known = site_from(site.text);
    if (!known) {
      std::vector<std::string> words;
      for (int i = 0; i < pe::kSites; ++i) words.push_back(to_string(static_cast<pe::Site>(i)));
      error({file, line, site.column}, fmt::format("'{}' must be {}, but is '{}'", format.site_column,
                                                   common::join_or(words), site.text));
      return false;
    }
    const auto number = common::parse_integer(bit.text);
    const std::string problem =
        number ? bit_problem(*known, *number, format.accumulator_bits)
               : fmt::format("'{}' must be a number, but is '{}'", format.bit_column, bit.text);
    if (!problem.empty()) error({file, line, bit.column}, problem);
    if (stuck_at.text != "0" && stuck_at.text != "1") {
      error({file, line, stuck_at.column},
            fmt::format("'{}' must be 0 or 1, but is '{}'", format.stuck_at_column, stuck_at.text));
      return false;
    }
    if (!problem.empty()) return false;
    fault.site = static_cast<std::int8_t>(*known);
    fault.bit = static_cast<std::int8_t>(*number);
    fault.value = stuck_at.text == "1" ? 1 : 0;
    return true;
  }

  // Sorts each chip's faults and looks at neighbours: the same identity is a duplicate or a contradiction.
  void find_clashes() {
    for (std::size_t chip = 0; chip < lot.chips_.size(); ++chip) {
      auto& faults = lot.chips_[chip];
      const auto& line = lines[chip];
      const auto stated = clean.find(chip);
      if (stated != clean.end() && !faults.empty())
        error({file, stated->second, 0},
              fmt::format("this line says that {} has no faults, line {} names one", lot.ids_[chip],
                          line.front()));
      const auto identity = [&](std::size_t i) {
        return std::tuple(faults[i].row, faults[i].col, faults[i].site, faults[i].bit);
      };
      bool ascends = true;  // as most testers write
      for (std::size_t i = 1; i < faults.size() && ascends; ++i) ascends = identity(i - 1) < identity(i);
      if (ascends) {
        faults.shrink_to_fit();
        continue;
      }
      std::vector<std::size_t> order(faults.size());
      for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
      std::stable_sort(order.begin(), order.end(),
                       [&](std::size_t a, std::size_t b) { return identity(a) < identity(b); });
      std::vector<Packed> kept;
      kept.reserve(faults.size());
      std::size_t first = 0;
      for (const std::size_t i : order) {
        if (!kept.empty() && identity(first) == identity(i)) {
          const Packed& a = faults[first];
          const Packed& b = faults[i];
          if (a.value != b.value)
            error({file, line[i], 0},
                  fmt::format("{}: {} bit {} of this PE is stuck at {} here and at {} on line {}; a bit can "
                              "be stuck at one value only",
                              lot.ids_[chip], to_string(static_cast<pe::Site>(b.site)), b.bit, b.value,
                              a.value, line[first]));
          else if (format.merge_duplicates && a.escape == b.escape)
            ++lot.merged_;
          else
            error(
                {file, line[i], 0},
                fmt::format("{}: duplicate fault, it was already given on line {}; remove one of the two, or "
                            "count such lines once with 'kintsugi fault-map import --merge-duplicates'",
                            lot.ids_[chip], line[first]));
          continue;
        }
        kept.push_back(faults[i]);
        first = i;
      }
      faults = std::move(kept);
    }
  }
};

Lot::Lot(const std::filesystem::path& path, const LotFormat& format)
    : rows_(format.rows), cols_(format.cols) {
  for (const int size : {rows_, cols_})
    if (size < 1 || size > kMaxArrayDimension)
      throw common::InputError({path.string()},
                               fmt::format("a lot's CSV does not say how large the array is; give rows and "
                                           "columns, 1 to {} each (found {} and {})",
                                           kMaxArrayDimension, rows_, cols_));
  const std::string text = common::read_file_maybe_gzip(path);
  Reader reader{*this, format, path.string(), {}, 0, {}, 0, {}, {}, {}, {}};
  std::vector<common::CsvRow> quoted;
  std::vector<Cell> cells;
  bool header = false;
  int number = 0;
  std::string_view left = text;
  if (left.starts_with("\xef\xbb\xbf")) left.remove_prefix(3);
  while (!left.empty()) {
    const std::size_t end = std::min(left.find('\n'), left.size());
    std::string_view line = left.substr(0, end);
    left.remove_prefix(std::min(end + 1, left.size()));
    ++number;
    if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
    if (line.find_first_not_of(" \t") == std::string_view::npos || line.front() == '#') continue;
    split_cells(line, reader.file, number, reader.diagnostics, quoted, cells);
    if (header) {
      reader.read_line(cells, number);
      continue;
    }
    header = true;
    reader.read_header(cells, number);
    if (!reader.diagnostics.empty()) break;  // without its columns the rest says nothing
  }
  if (!header)
    throw common::InputError({path.string()},
                             "the file is empty; a lot's CSV starts with a line of column names");
  reader.find_clashes();
  for (const Reader::Wafer& wafer : reader.wafers) meta_.push_back(wafer_meta(wafer.name));
  if (reader.diagnostics.empty()) return;
  reader.diagnostics.add_source(reader.file, text);
  std::string message = reader.diagnostics.render();
  if (reader.left_out > 0)
    message += fmt::format("\n{}: error: {} more problems like these", reader.file, reader.left_out);
  throw common::InputError(message);
}

void Lot::add(const FaultMap& map) {
  if (map.rows != rows_ || map.cols != cols_)
    throw std::logic_error(
        fmt::format("a map of {}x{} PEs in a lot of {}x{}", map.rows, map.cols, rows_, cols_));
  FaultMap sorted = map;
  sorted.sort();
  std::vector<Packed> faults;
  faults.reserve(sorted.faults.size());
  for (const Fault& fault : sorted.faults) {
    Packed packed{
        static_cast<std::int16_t>(fault.row),          static_cast<std::int16_t>(fault.col), -1, 0, 0,
        static_cast<std::int8_t>(fault.escape ? 1 : 0)};
    if (fault.stuck) {
      packed.site = static_cast<std::int8_t>(fault.stuck->site);
      packed.bit = static_cast<std::int8_t>(fault.stuck->bit);
      packed.value = static_cast<std::int8_t>(fault.stuck->value);
    }
    faults.push_back(packed);
  }
  ids_.push_back(map.chip);
  meta_.push_back(map.meta);
  chips_.push_back(std::move(faults));
}

FaultMap Lot::map(std::size_t chip) const {
  FaultMap map;
  map.chip = ids_[chip];
  map.meta = meta_[chip];
  map.rows = rows_;
  map.cols = cols_;
  map.faults.reserve(chips_[chip].size());
  for (const Packed& packed : chips_[chip]) {
    Fault fault;
    fault.row = packed.row;
    fault.col = packed.col;
    if (packed.site >= 0) fault.stuck = StuckAt{static_cast<pe::Site>(packed.site), packed.bit, packed.value};
    fault.escape = packed.escape != 0;
    map.faults.push_back(std::move(fault));
  }
  return map;
}

std::int64_t Lot::faults() const {
  std::int64_t sum = 0;
  for (const auto& chip : chips_) sum += static_cast<std::int64_t>(chip.size());
  return sum;
}

std::vector<FaultMap> read_lot(const std::filesystem::path& path, const LotFormat& format) {
  const Lot lot(path, format);
  return {lot.begin(), lot.end()};
}

}  // namespace kintsugi::faults

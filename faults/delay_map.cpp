#include "faults/delay_map.h"

#include <fmt/format.h>

#include <cstddef>
#include <optional>

#include "common/csv.h"
#include "common/diagnostics.h"
#include "common/files.h"
#include "common/text.h"

namespace kintsugi::faults {
namespace {

constexpr double kLeastFactor = 0.05;
constexpr double kMostFactor = 20;
constexpr const char* kHeader = "row,col,factor";
constexpr int kMissingNamed = 5;

class DelayMapReader {
 public:
  DelayMapReader(const std::filesystem::path& file, int rows, int cols)
      : file_(file.string()), rows_(rows), cols_(cols), factors_(static_cast<std::size_t>(rows) * cols) {
    std::string text = common::read_file_maybe_gzip(file);
    diagnostics_.add_source(file_, text);
    records_ = common::parse_csv(text, file_, diagnostics_);
  }

  std::vector<double> read() {
    const bool headed = !records_.empty() && records_[0].cells.size() == 3 &&
                        records_[0].cells[0].text == "row" && records_[0].cells[1].text == "col" &&
                        records_[0].cells[2].text == "factor";
    if (!headed)
      diagnostics_.error({file_, records_.empty() ? 0 : records_[0].line, records_.empty() ? 0 : 1},
                         fmt::format("a delay map begins with the line '{}'", kHeader));
    diagnostics_.throw_if_any();
    for (std::size_t i = 1; i < records_.size(); ++i) take(records_[i]);
    check_whole();
    diagnostics_.throw_if_any();
    std::vector<double> factors;
    factors.reserve(factors_.size());
    for (const auto& factor : factors_) factors.push_back(*factor);
    return factors;
  }

 private:
  std::optional<int> index(const common::CsvRow& record, const common::CsvCell& cell, const char* what,
                           int count) {
    const auto value = common::parse_integer(cell.text);
    if (value && *value >= 0 && *value < count) return static_cast<int>(*value);
    diagnostics_.error({file_, record.line, cell.column},
                       fmt::format("a {} of this array is a whole number from 0 to {}, but this is '{}'",
                                   what, count - 1, cell.text));
    return std::nullopt;
  }

  void take(const common::CsvRow& record) {
    if (record.cells.size() != 3) {
      diagnostics_.error({file_, record.line, 1},
                         fmt::format("a line of a delay map has 3 cells, {}, but this one has {}", kHeader,
                                     record.cells.size()));
      return;
    }
    const auto row = index(record, record.cells[0], "row", rows_);
    const auto col = index(record, record.cells[1], "column", cols_);
    const common::CsvCell& cell = record.cells[2];
    const auto factor = common::parse_real(cell.text);
    if (!factor || *factor < kLeastFactor || *factor > kMostFactor)
      diagnostics_.error(
          {file_, record.line, cell.column},
          fmt::format("a delay factor is a number from {} to {}, 1 for a typical PE, but this is "
                      "'{}'",
                      kLeastFactor, kMostFactor, cell.text));
    if (!row || !col) return;
    auto& place = factors_[static_cast<std::size_t>(*row) * cols_ + *col];
    if (place)
      diagnostics_.error(
          {file_, record.line, record.cells[0].column},
          fmt::format("PE ({}, {}) is here for the second time; remove one of the two", *row, *col));
    // What is wrong is reported; 1 keeps it from being reported as missing too.
    place = factor.value_or(1);
  }

  void check_whole() {
    std::string named;
    int missing = 0;
    for (std::size_t pe = 0; pe < factors_.size(); ++pe) {
      if (factors_[pe]) continue;
      if (++missing <= kMissingNamed)
        named += fmt::format("{}({}, {})", missing == 1 ? "" : ", ", pe / cols_, pe % cols_);
    }
    if (missing > 0)
      diagnostics_.error(
          {file_},
          fmt::format("{} of the {} PEs of a {}x{} array have no delay factor: {}{}; add a "
                      "line for each",
                      missing, factors_.size(), rows_, cols_, named, missing > kMissingNamed ? ", ..." : ""));
  }

  std::string file_;
  int rows_, cols_;
  std::vector<std::optional<double>> factors_;
  common::Diagnostics diagnostics_;
  std::vector<common::CsvRow> records_;
};

}  // namespace

std::vector<double> read_delay_map(const std::filesystem::path& file, int rows, int cols) {
  return DelayMapReader(file, rows, cols).read();
}

std::string delay_map_csv(const std::vector<double>& factors, int rows, int cols) {
  std::string text = std::string(kHeader) + "\n";
  for (int r = 0; r < rows; ++r)
    for (int c = 0; c < cols; ++c)
      text += fmt::format("{},{},{}\n", r, c,
                          common::format_number(factors[static_cast<std::size_t>(r) * cols + c]));
  return text;
}

}  // namespace kintsugi::faults

// Plain CSV: comma-separated, one record a line, double quotes around cells that need them. Cells keep their
// column so that a message can point at them.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "common/diagnostics.h"

namespace kintsugi::common {

struct CsvCell {
  std::string text;  // unquoted, blanks around it trimmed
  int column = 0;    // 1-based character column in its line
};

struct CsvRow {
  int line = 0;  // 1-based
  std::vector<CsvCell> cells;
};

// Splits `text`; empty lines and lines that start with '#' are skipped. Reports unclosed quotes to
// `diagnostics`.
std::vector<CsvRow> parse_csv(std::string_view text, const std::string& file, Diagnostics& diagnostics);

// Quotes a cell if it holds a comma, a quote or a line break.
std::string csv_cell(std::string_view text);

}  // namespace kintsugi::common

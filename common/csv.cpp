#include "common/csv.h"

namespace kintsugi::common {
namespace {

std::string trimmed(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return std::string(text);
}

}  // namespace

std::vector<CsvRow> parse_csv(std::string_view text, const std::string& file, Diagnostics& diagnostics) {
  std::vector<CsvRow> rows;
  int line_number = 0;
  std::size_t begin = 0;
  if (text.starts_with("\xef\xbb\xbf")) begin = 3;  // a spreadsheet's byte-order mark
  while (begin < text.size()) {
    std::size_t end = text.find('\n', begin);
    if (end == std::string_view::npos) end = text.size();
    std::string_view line = text.substr(begin, end - begin);
    begin = end + 1;
    ++line_number;
    if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
    if (trimmed(line).empty() || line.front() == '#') continue;

    CsvRow row{line_number, {}};
    std::size_t i = 0;
    for (;;) {
      const int column = static_cast<int>(i) + 1;
      std::string cell;
      if (i < line.size() && line[i] == '"') {
        ++i;
        bool closed = false;
        while (i < line.size()) {
          if (line[i] == '"' && i + 1 < line.size() && line[i + 1] == '"') {
            cell += '"';
            i += 2;
          } else if (line[i] == '"') {
            closed = true;
            ++i;
            break;
          } else {
            cell += line[i++];
          }
        }
        if (!closed) diagnostics.error({file, line_number, column}, "this quote is never closed");
        while (i < line.size() && line[i] != ',') ++i;
      } else {
        const std::size_t comma = std::min(line.find(',', i), line.size());
        cell = trimmed(line.substr(i, comma - i));
        i = comma;
      }
      row.cells.push_back({std::move(cell), column});
      if (i >= line.size()) break;
      ++i;  // the comma
    }
    rows.push_back(std::move(row));
  }
  return rows;
}

std::string csv_cell(std::string_view text) {
  if (text.find_first_of(",\"\n") == std::string_view::npos) return std::string(text);
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"') out += '"';
    out += c;
  }
  return out + '"';
}

}  // namespace kintsugi::common

#include "sim/text_table.h"

#include <algorithm>

namespace kintsugi::sim {
namespace {

std::size_t width_of(const std::string& text) {
  return static_cast<std::size_t>(std::count_if(
      text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

std::string padded(const std::string& text, std::size_t width, Align align) {
  const std::size_t used = width_of(text);
  const std::string blanks(width > used ? width - used : 0, ' ');
  return align == Align::left ? text + blanks : blanks + text;
}

const char* escape(Tone tone) {
  switch (tone) {
    case Tone::plain:
      return "";
    case Tone::good:
      return "\x1b[32m";
    case Tone::doubtful:
      return "\x1b[33m";
    case Tone::bad:
      return "\x1b[31m";
    case Tone::dim:
      return "\x1b[2m";
  }
  return "";
}

void strip_right(std::string& line) {
  while (!line.empty() && line.back() == ' ') line.pop_back();
}

}  // namespace

void TextTable::column(std::string header, Align align) {
  Column column{{}, align};
  std::size_t begin = 0;
  for (;;) {
    const std::size_t end = header.find('\n', begin);
    column.header.push_back(header.substr(begin, end == std::string::npos ? end : end - begin));
    if (end == std::string::npos) break;
    begin = end + 1;
  }
  columns_.push_back(std::move(column));
}

void TextTable::row(std::vector<TableCell> cells) {
  cells.resize(columns_.size());
  rows_.push_back(std::move(cells));
}

std::string TextTable::render(bool colours) const {
  std::vector<std::size_t> widths;
  std::size_t header_lines = 0;
  for (std::size_t c = 0; c < columns_.size(); ++c) {
    std::size_t width = 0;
    for (const std::string& line : columns_[c].header) width = std::max(width, width_of(line));
    for (const auto& row : rows_) width = std::max(width, width_of(row[c].text));
    widths.push_back(width);
    header_lines = std::max(header_lines, columns_[c].header.size());
  }
  std::string out;
  for (std::size_t i = 0; i < header_lines; ++i) {
    std::string line;
    for (std::size_t c = 0; c < columns_.size(); ++c) {
      const auto& header = columns_[c].header;
      const std::size_t missing = header_lines - header.size();  // headers stand on the rule
      line +=
          (c > 0 ? "  " : "") + padded(i >= missing ? header[i - missing] : "", widths[c], columns_[c].align);
    }
    strip_right(line);
    out += line + "\n";
  }
  for (std::size_t c = 0; c < columns_.size(); ++c) {
    if (c > 0) out += "──";
    for (std::size_t i = 0; i < widths[c]; ++i) out += "─";
  }
  out += "\n";
  for (const auto& row : rows_) {
    std::string line;
    for (std::size_t c = 0; c < columns_.size(); ++c) {
      const std::string text = padded(row[c].text, widths[c], columns_[c].align);
      const bool tinted = colours && row[c].tone != Tone::plain;
      line += (c > 0 ? "  " : "") + (tinted ? escape(row[c].tone) + text + "\x1b[0m" : text);
    }
    strip_right(line);
    out += line + "\n";
  }
  return out;
}

}  // namespace kintsugi::sim

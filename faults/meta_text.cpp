#include "faults/meta_text.h"

#include <algorithm>
#include <vector>

namespace kintsugi::faults {
namespace {

std::vector<std::string> split_lines(const std::string& text) {
  std::vector<std::string> lines;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    lines.push_back(text.substr(begin, end - begin));
    if (!lines.back().empty() && lines.back().back() == '\r') lines.back().pop_back();
    begin = end + 1;
  }
  return lines;
}

std::size_t indentation(const std::string& line) {
  return std::min(line.find_first_not_of(' '), line.size());
}
bool blank(const std::string& line) {
  return indentation(line) == line.size();
}
bool comment(const std::string& line) {
  return !blank(line) && line[indentation(line)] == '#';
}

// From the opening brace to the one that closes it, quotes and comments respected.
std::string flow_text(const std::vector<std::string>& lines, std::size_t line, std::size_t column) {
  std::string out;
  int depth = 0;
  char quote = 0;
  for (; line < lines.size(); ++line, column = 0) {
    const std::string& text = lines[line];
    for (std::size_t i = column; i < text.size(); ++i) {
      const char c = text[i];
      out += c;
      if (quote != 0) {
        if (quote == '"' && c == '\\' && i + 1 < text.size())
          out += text[++i];
        else if (c == quote)
          quote = 0;
        continue;
      }
      // A quote opens a scalar only where one begins, not within a word; a comment needs a blank before it.
      const char previous = i > column ? text[i - 1] : ' ';
      const bool starts =
          previous == ' ' || previous == ',' || previous == '{' || previous == '[' || previous == ':';
      if ((c == '"' || c == '\'') && starts) quote = c;
      if (c == '#' && previous == ' ') {
        out += text.substr(i + 1);
        break;
      }
      if (c == '{' || c == '[') ++depth;
      if ((c == '}' || c == ']') && --depth == 0) return out;
    }
    out += '\n';
  }
  return out;
}

}  // namespace

std::string meta_text(const std::string& source, const common::Location& where) {
  const std::vector<std::string> lines = split_lines(source);
  if (where.line < 1 || where.line > static_cast<int>(lines.size())) return "";
  std::size_t first = static_cast<std::size_t>(where.line) - 1;
  const std::size_t column = static_cast<std::size_t>(where.column) - 1;
  if (column < lines[first].size() && lines[first][column] == '{') return flow_text(lines, first, column);

  // Comments between `meta:` and the first key belong to it.
  while (first > 0 && (comment(lines[first - 1]) || blank(lines[first - 1]))) --first;
  while (blank(lines[first])) ++first;
  std::size_t end = first;  // one past the last line that is surely part of the block
  for (std::size_t i = first; i < lines.size(); ++i) {
    const bool inside = indentation(lines[i]) >= column;
    if (!blank(lines[i]) && !inside && !comment(lines[i])) break;
    if (!blank(lines[i]) && inside) end = i + 1;
  }
  std::string out;
  for (std::size_t i = first; i < end; ++i)
    out += lines[i].substr(std::min(indentation(lines[i]), column)) + '\n';
  return out;
}

std::string meta_block(const std::string& meta) {
  if (meta.empty()) return "";
  if (meta.front() == '{') return "  meta: " + meta + '\n';
  std::string out = "  meta:\n";
  for (const std::string& line : split_lines(meta)) out += line.empty() ? "\n" : "    " + line + '\n';
  return out;
}

}  // namespace kintsugi::faults

#include "common/diagnostics.h"

#include <fmt/format.h>

#include <algorithm>

namespace kintsugi::common {

std::string to_string(const Location& where) {
  if (where.line == 0) return where.file;
  if (where.column == 0) return fmt::format("{}:{}", where.file, where.line);
  return fmt::format("{}:{}:{}", where.file, where.line, where.column);
}

InputError::InputError(const Location& where, const std::string& message)
    : std::runtime_error(to_string(where) + ": error: " + message) {}

void Diagnostics::add_source(const std::string& file, std::string text) {
  std::vector<std::string> lines;
  std::size_t begin = 0;
  while (begin <= text.size()) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    std::string line = text.substr(begin, end - begin);
    if (!line.empty() && line.back() == '\r') line.pop_back();
    lines.push_back(std::move(line));
    begin = end + 1;
  }
  sources_[file] = std::move(lines);
}

void Diagnostics::error(const Location& where, std::string message) {
  problems_.push_back({where, std::move(message)});
}

std::string Diagnostics::render() const {
  std::vector<std::string> files;
  for (const Problem& p : problems_)
    if (std::find(files.begin(), files.end(), p.where.file) == files.end()) files.push_back(p.where.file);
  const auto rank = [&](const std::string& f) { return std::find(files.begin(), files.end(), f); };

  std::vector<const Problem*> sorted;
  for (const Problem& p : problems_) sorted.push_back(&p);
  std::stable_sort(sorted.begin(), sorted.end(), [&](const Problem* a, const Problem* b) {
    if (a->where.file != b->where.file) return rank(a->where.file) < rank(b->where.file);
    if (a->where.line != b->where.line) return a->where.line < b->where.line;
    return a->where.column < b->where.column;
  });

  std::string out;
  for (const Problem* p : sorted) {
    if (!out.empty()) out += '\n';
    out += fmt::format("{}: error: {}", to_string(p->where), p->message);
    const auto source = sources_.find(p->where.file);
    if (source == sources_.end() || p->where.line < 1) continue;
    if (static_cast<std::size_t>(p->where.line) > source->second.size()) continue;
    // A tab keeps its width under the caret because the padding repeats it; very long lines are cut.
    std::string line = source->second[p->where.line - 1];
    constexpr std::size_t kWidest = 120;
    const std::size_t column = static_cast<std::size_t>(std::max(p->where.column, 0));
    if (line.size() > kWidest) {
      if (column >= kWidest) continue;
      line = line.substr(0, kWidest) + "...";
    }
    out += fmt::format("\n{:>5} | {}", p->where.line, line);
    if (column == 0) continue;
    std::string padding;
    for (std::size_t i = 0; i + 1 < column; ++i) padding += i < line.size() && line[i] == '\t' ? '\t' : ' ';
    out += fmt::format("\n      | {}^", padding);
  }
  return out;
}

void Diagnostics::throw_if_any() const {
  if (!problems_.empty()) throw InputError(render());
}

}  // namespace kintsugi::common

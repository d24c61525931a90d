#include "faults/import_text.h"

#include <fmt/format.h>

#include <cctype>

namespace kintsugi::faults {
namespace {

constexpr std::size_t kMostProblems = 50;

}  // namespace

void ImportProblems::error(const std::string& file, TextPlace where, const std::string& message) {
  if (diagnostics_.size() < kMostProblems)
    diagnostics_.error({file, where.line, where.column}, message);
  else
    ++left_out_;
}

void ImportProblems::throw_if_any() const {
  if (diagnostics_.empty()) return;
  std::string text = diagnostics_.render();
  if (left_out_ > 0) text += fmt::format("\nand {} more problems", left_out_);
  throw common::InputError(text);
}

char TextCursor::next() {
  const char c = text_[at_++];
  if (c == '\n') {
    ++line_;
    column_ = 1;
  } else {
    ++column_;
  }
  return c;
}

void TextCursor::skip_blanks() {
  while (!at_end() && std::isspace(static_cast<unsigned char>(peek()))) next();
}

void TextCursor::skip_line() {
  while (!at_end() && peek() != '\n') next();
}

void TextCursor::skip_comment(std::string_view end) {
  const TextPlace begin = place();
  while (!at_end() && !starts_with(end)) next();
  if (at_end()) fail(begin, "this comment never ends");
  skip(end.size());
}

void TextCursor::fail(TextPlace where, const std::string& message) {
  error(where, message);
  throw UnreadableText{};
}

}  // namespace kintsugi::faults

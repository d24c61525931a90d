// What the readers of `timing import` share: a text that knows the place of each character, and the list of
// everything wrong with the files.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "common/diagnostics.h"

namespace kintsugi::faults {

// Counts from 1; line 0 is the file as a whole.
struct TextPlace {
  int line = 0;
  int column = 0;
};

// Every problem of the three files. A netlist that does not go with its delays can be wrong at each of a
// hundred thousand gates, so the list is cut, and says so.
class ImportProblems {
 public:
  void add_source(const std::string& file, std::string text) {
    diagnostics_.add_source(file, std::move(text));
  }
  void error(const std::string& file, TextPlace where, const std::string& message);
  bool empty() const { return diagnostics_.empty(); }
  // Throws common::InputError with the list unless it is empty.
  void throw_if_any() const;

 private:
  common::Diagnostics diagnostics_;
  std::size_t left_out_ = 0;
};

// A reader met something after which the rest of the file cannot be understood; the problem is on the list.
struct UnreadableText {};

// A text, character by character. The text must outlive it.
class TextCursor {
 public:
  TextCursor(std::string file, std::string_view text, ImportProblems& problems)
      : file_(std::move(file)), text_(text), problems_(problems) {}

  bool at_end() const { return at_ >= text_.size(); }
  // '\0' past the end.
  char peek(std::size_t ahead = 0) const { return at_ + ahead < text_.size() ? text_[at_ + ahead] : '\0'; }
  bool starts_with(std::string_view word) const { return text_.substr(at_).starts_with(word); }
  char next();
  void skip(std::size_t count) {
    for (; count > 0; --count) next();
  }
  void skip_blanks();
  // Up to the end of the line, which is left.
  void skip_line();
  // Past `end`; fails where the comment began if there is none.
  void skip_comment(std::string_view end);
  // Characters for which `belongs` holds.
  template <class Belongs>
  std::string take_while(Belongs belongs) {
    std::string taken;
    while (!at_end() && belongs(peek())) taken += next();
    return taken;
  }

  TextPlace place() const { return {line_, column_}; }
  const std::string& file() const { return file_; }
  void error(TextPlace where, const std::string& message) { problems_.error(file_, where, message); }
  // Lists the problem and throws UnreadableText.
  [[noreturn]] void fail(TextPlace where, const std::string& message);

 private:
  std::string file_;
  std::string_view text_;
  ImportProblems& problems_;
  std::size_t at_ = 0;
  int line_ = 1, column_ = 1;
};

}  // namespace kintsugi::faults

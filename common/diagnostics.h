// Problems that a user can mend: where they are, what was found, what is allowed.
//
// Readers collect every problem of a file in a Diagnostics and throw once, so that a user sees the whole
// list. An InputError always means "the input is wrong" (exit status 2); any other exception is ours.
#pragma once

#include <map>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace kintsugi::common {

// A place in a file. Lines and columns count from 1; 0 means "the whole file" or "the whole line".
struct Location {
  std::string file;
  int line = 0;
  int column = 0;
};

// Carries finished, user-facing text: one problem or several, newline-separated.
class InputError : public std::runtime_error {
 public:
  explicit InputError(const std::string& text) : std::runtime_error(text) {}
  // "file:line:column: error: message", without a source line.
  InputError(const Location& where, const std::string& message);
};

class Diagnostics {
 public:
  // Remembers the text of `file` so that messages can show the source line and a caret.
  void add_source(const std::string& file, std::string text);

  void error(const Location& where, std::string message);

  bool empty() const { return problems_.empty(); }
  std::size_t size() const { return problems_.size(); }

  // All problems in order of (file as first seen, line, column), each as
  //   file:line:column: error: message
  //      12 |   rows: -3
  //         |         ^
  std::string render() const;

  // Throws InputError(render()) unless empty().
  void throw_if_any() const;

 private:
  struct Problem {
    Location where;
    std::string message;
  };
  std::vector<Problem> problems_;
  std::map<std::string, std::vector<std::string>> sources_;  // file -> lines
};

// "file", "file:12" or "file:12:5".
std::string to_string(const Location& where);

}  // namespace kintsugi::common

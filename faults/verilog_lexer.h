// Words of a gate-level Verilog file.
#pragma once

#include <string>
#include <string_view>

#include "faults/import_text.h"

namespace kintsugi::faults {

struct VerilogToken {
  enum class Kind { name, number, symbol, end };
  Kind kind = Kind::end;
  std::string text;      // an escaped name without its backslash; a number as written, without blanks
  bool escaped = false;  // then never a keyword
  TextPlace where;
  bool is(std::string_view symbol_or_keyword) const {
    return !escaped && kind != Kind::number && text == symbol_or_keyword;
  }
};

class VerilogLexer {
 public:
  VerilogLexer(const std::string& file, std::string_view text, ImportProblems& problems);

  const VerilogToken& peek() const { return token_; }
  VerilogToken next();
  bool accept(std::string_view symbol);
  // `after` says what the symbol ends or separates.
  void expect(std::string_view symbol, std::string_view after);
  VerilogToken expect_name(std::string_view what);

  TextCursor& cursor() { return cursor_; }
  const std::string& first_comment() const { return first_comment_; }

 private:
  void skip_unread();
  void read();

  TextCursor cursor_;
  VerilogToken token_;
  std::string first_comment_;
};

// "'x'" or "the end of the file".
std::string quoted(const VerilogToken& token);

}  // namespace kintsugi::faults

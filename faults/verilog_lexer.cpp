#include "faults/verilog_lexer.h"

#include <fmt/format.h>

#include <cctype>

namespace kintsugi::faults {
namespace {

bool is_space(char c) {
  return std::isspace(static_cast<unsigned char>(c)) != 0;
}

bool starts_name(char c) {
  return std::isalpha(static_cast<unsigned char>(c)) != 0 || c == '_';
}

bool continues_name(char c) {
  return starts_name(c) || std::isdigit(static_cast<unsigned char>(c)) != 0 || c == '$';
}

bool is_digit(char c) {
  return std::isdigit(static_cast<unsigned char>(c)) != 0;
}

}  // namespace

std::string quoted(const VerilogToken& token) {
  return token.kind == VerilogToken::Kind::end ? "the end of the file" : fmt::format("'{}'", token.text);
}

VerilogLexer::VerilogLexer(const std::string& file, std::string_view text, ImportProblems& problems)
    : cursor_(file, text, problems) {
  read();
}

VerilogToken VerilogLexer::next() {
  VerilogToken token = token_;
  read();
  return token;
}

bool VerilogLexer::accept(std::string_view symbol) {
  if (!token_.is(symbol)) return false;
  read();
  return true;
}

void VerilogLexer::expect(std::string_view symbol, std::string_view after) {
  if (!accept(symbol))
    cursor_.fail(token_.where, fmt::format("expected '{}' {}, but found {}", symbol, after, quoted(token_)));
}

VerilogToken VerilogLexer::expect_name(std::string_view what) {
  if (token_.kind != VerilogToken::Kind::name)
    cursor_.fail(token_.where, fmt::format("expected {}, but found {}", what, quoted(token_)));
  return next();
}

// Blanks, comments, (* attributes *) and `directives.
void VerilogLexer::skip_unread() {
  for (;;) {
    cursor_.skip_blanks();
    if (cursor_.starts_with("//") || cursor_.peek() == '`') {
      cursor_.skip_line();
    } else if (cursor_.starts_with("/*")) {
      const bool first = cursor_.place().line == 1 && first_comment_.empty();
      for (std::size_t i = 2; first && cursor_.peek(i) != '\0'; ++i) {
        if (cursor_.peek(i) == '\n' || (cursor_.peek(i) == '*' && cursor_.peek(i + 1) == '/')) break;
        first_comment_ += cursor_.peek(i);
      }
      cursor_.skip_comment("*/");
    } else if (cursor_.starts_with("(*") && cursor_.peek(2) != ')') {
      cursor_.skip_comment("*)");
    } else {
      return;
    }
  }
}

void VerilogLexer::read() {
  skip_unread();
  token_ = {};
  token_.where = cursor_.place();
  if (cursor_.at_end()) return;
  const char c = cursor_.peek();
  if (c == '\\') {
    cursor_.next();
    token_.kind = VerilogToken::Kind::name;
    token_.escaped = true;
    token_.text = cursor_.take_while([](char one) { return !is_space(one); });
    if (token_.text.empty()) cursor_.fail(token_.where, "a name is missing after '\\'");
  } else if (starts_name(c)) {
    token_.kind = VerilogToken::Kind::name;
    token_.text = cursor_.take_while(continues_name);
  } else if (is_digit(c) || c == '\'') {
    token_.kind = VerilogToken::Kind::number;
    token_.text = cursor_.take_while([](char one) { return is_digit(one) || one == '_'; });
    // A size may stand apart from its base: 8 'b0.
    std::size_t blanks = 0;
    while (is_space(cursor_.peek(blanks))) ++blanks;
    if (cursor_.peek(blanks) == '\'') {
      cursor_.skip(blanks + 1);
      token_.text += '\'';
      token_.text += cursor_.take_while([](char one) { return continues_name(one) || one == '?'; });
    }
  } else {
    token_.kind = VerilogToken::Kind::symbol;
    token_.text = cursor_.next();
  }
}

}  // namespace kintsugi::faults

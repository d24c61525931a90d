// Boolean functions of Liberty cells.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>

#include "common/text.h"
#include "faults/liberty_file.h"

namespace kintsugi::faults {
namespace {

// Columns of a truth table of six inputs: bit v of kInput[i] is bit i of v.
constexpr std::array<std::uint64_t, 6> kInput = {0xAAAAAAAAAAAAAAAAU, 0xCCCCCCCCCCCCCCCCU,
                                                 0xF0F0F0F0F0F0F0F0U, 0xFF00FF00FF00FF00U,
                                                 0xFFFF0000FFFF0000U, 0xFFFFFFFF00000000U};
constexpr int kDeepest = 100;

bool belongs_to_name(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_' || c == '[' || c == ']' || c == '.';
}

// Each level of the grammar evaluates to a whole truth table.
class Evaluator {
 public:
  Evaluator(const LibertyText& function, const std::vector<std::string>& inputs, const std::string& file,
            ImportProblems& problems)
      : function_(function), inputs_(inputs), file_(file), problems_(problems) {}

  std::uint64_t evaluate() {
    const std::uint64_t value = either();
    if (at_ < function_.text.size()) fail(fmt::format("'{}' is not expected here", function_.text[at_]));
    return value;
  }

 private:
  [[noreturn]] void fail(const std::string& message) {
    problems_.error(file_, {function_.where.line, function_.where.column + static_cast<int>(at_)},
                    fmt::format("the function \"{}\" cannot be read: {}", function_.text, message));
    throw UnreadableText{};
  }

  char peek() {
    while (at_ < function_.text.size() && std::isspace(static_cast<unsigned char>(function_.text[at_])))
      ++at_;
    return at_ < function_.text.size() ? function_.text[at_] : '\0';
  }

  std::uint64_t either() {
    std::uint64_t value = both();
    while (peek() == '+' || peek() == '|') {
      ++at_;
      value |= both();
    }
    return value;
  }

  std::uint64_t both() {
    std::uint64_t value = one_of();
    for (;;) {
      const char c = peek();
      if (c == '*' || c == '&')
        ++at_;
      else if (c != '(' && c != '!' && !belongs_to_name(c))
        return value;
      value &= one_of();
    }
  }

  std::uint64_t one_of() {
    std::uint64_t value = operand();
    while (peek() == '^') {
      ++at_;
      value ^= operand();
    }
    return value;
  }

  std::uint64_t operand() {
    if (++depth_ > kDeepest) fail("it is nested too deeply");
    std::uint64_t value = 0;
    if (peek() == '!') {
      ++at_;
      value = ~operand();
    } else if (peek() == '(') {
      ++at_;
      value = either();
      if (peek() != ')') fail("a ')' is missing");
      ++at_;
    } else {
      value = name();
    }
    while (peek() == '\'') {
      ++at_;
      value = ~value;
    }
    --depth_;
    return value;
  }

  std::uint64_t name() {
    peek();
    const std::size_t begin = at_;
    std::size_t end = begin;
    while (end < function_.text.size() && belongs_to_name(function_.text[end])) ++end;
    const std::string name = function_.text.substr(begin, end - begin);
    if (name.empty()) fail("a pin's name is missing");
    if (name == "0" || name == "1") {
      at_ = end;
      return name == "1" ? ~std::uint64_t{0} : 0;
    }
    const auto input = std::find(inputs_.begin(), inputs_.end(), name);
    if (input == inputs_.end())
      fail(fmt::format("'{}' is no input; the inputs are {}", name, common::join(inputs_)));
    at_ = end;
    return kInput[static_cast<std::size_t>(input - inputs_.begin())];
  }

  const LibertyText& function_;
  const std::vector<std::string>& inputs_;
  const std::string& file_;
  ImportProblems& problems_;
  std::size_t at_ = 0;
  int depth_ = 0;
};

}  // namespace

std::optional<std::uint64_t> truth_table(const LibertyText& function, const std::vector<std::string>& inputs,
                                         const std::string& file, ImportProblems& problems) {
  if (inputs.size() > kInput.size()) return std::nullopt;
  try {
    const std::uint64_t all = Evaluator(function, inputs, file, problems).evaluate();
    return inputs.size() == kInput.size() ? all : all & ((std::uint64_t{1} << (1U << inputs.size())) - 1);
  } catch (const UnreadableText&) {
    return std::nullopt;
  }
}

std::vector<std::string> names_in(const LibertyText& function) {
  std::vector<std::string> names;
  for (std::size_t at = 0; at < function.text.size();) {
    std::size_t end = at;
    while (end < function.text.size() && belongs_to_name(function.text[end])) ++end;
    const std::string name = function.text.substr(at, end - at);
    if (!name.empty() && name != "0" && name != "1" &&
        std::find(names.begin(), names.end(), name) == names.end())
      names.push_back(name);
    at = std::max(end, at + 1);
  }
  return names;
}

}  // namespace kintsugi::faults

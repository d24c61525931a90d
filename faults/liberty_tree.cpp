#include "faults/liberty_tree.h"

#include <fmt/format.h>

#include <cctype>
#include <utility>

namespace kintsugi::faults {
namespace {

constexpr int kDeepest = 64;

bool is_space(char c) {
  return std::isspace(static_cast<unsigned char>(c)) != 0;
}

class Parser {
 public:
  Parser(const std::string& file, std::string_view text, ImportProblems& problems)
      : cursor_(file, text, problems) {}

  void parse(LibertyGroup& library) {
    skip_unread();
    library.where = cursor_.place();
    library.name = read_name();
    if (library.name != "library")
      cursor_.fail(library.where, "this is no Liberty file: it does not begin with library (name) {");
    library.arguments = read_arguments().first;
    skip_unread();
    if (cursor_.peek() != '{') cursor_.fail(cursor_.place(), "expected '{' after library (name)");
    read_body(library, 0);
  }

 private:
  // Blanks, comments, and the backslashes that join lines.
  void skip_unread() {
    for (;;) {
      cursor_.skip_blanks();
      if (cursor_.starts_with("/*"))
        cursor_.skip_comment("*/");
      else if (cursor_.starts_with("//"))
        cursor_.skip_line();
      else if (cursor_.peek() == '\\' && is_space(cursor_.peek(1)))
        cursor_.next();
      else
        return;
    }
  }

  std::string read_name() {
    return cursor_.take_while([](char c) {
      return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_' || c == '.' || c == '-' ||
             c == '[' || c == ']';
    });
  }

  std::string read_string() {
    const TextPlace begin = cursor_.place();
    cursor_.next();
    std::string text;
    while (!cursor_.at_end() && cursor_.peek() != '"') {
      const char c = cursor_.next();
      if (c == '\\' && !cursor_.at_end()) {
        // Joins two lines, or takes the next character as it is.
        while (cursor_.peek() == ' ' || cursor_.peek() == '\t' || cursor_.peek() == '\r') cursor_.next();
        if (cursor_.peek() == '\n')
          cursor_.next();
        else
          text += cursor_.next();
      } else {
        text += c;
      }
    }
    if (cursor_.at_end()) cursor_.fail(begin, "this string never ends");
    cursor_.next();
    return text;
  }

  // (a, "b c", 1.5) and the place of its first value.
  std::pair<std::vector<std::string>, TextPlace> read_arguments() {
    const TextPlace begin = cursor_.place();
    skip_unread();
    if (cursor_.at_end() || cursor_.peek() != '(') cursor_.fail(begin, "expected '(' or ':' after a name");
    cursor_.next();
    std::vector<std::string> values;
    skip_unread();
    const TextPlace first = cursor_.place();
    for (skip_unread(); cursor_.peek() != ')'; skip_unread()) {
      if (cursor_.at_end()) cursor_.fail(begin, "this '(' is never closed: the file is cut short");
      if (cursor_.peek() == ',') {
        cursor_.next();
      } else if (cursor_.peek() == '"') {
        values.push_back(read_string());
      } else {
        values.push_back(cursor_.take_while(
            [](char c) { return c != ',' && c != ')' && c != '"' && c != '(' && !is_space(c); }));
        if (values.back().empty())
          cursor_.fail(cursor_.place(), fmt::format("unexpected '{}' among the values", cursor_.peek()));
      }
    }
    cursor_.next();
    return {std::move(values), first};
  }

  // name : value ;  The ';' may be missing at the end of a line.
  void read_simple(LibertyAttribute& attribute) {
    cursor_.next();
    while (cursor_.peek() == ' ' || cursor_.peek() == '\t') cursor_.next();
    attribute.value_where = cursor_.place();
    if (cursor_.peek() == '"') {
      ++attribute.value_where.column;
      attribute.values.push_back(read_string());
    } else {
      std::string text = cursor_.take_while([](char c) { return c != ';' && c != '\n' && c != '}'; });
      if (const std::size_t comment = text.find("/*"); comment != std::string::npos) text.resize(comment);
      while (!text.empty() && is_space(text.back())) text.pop_back();
      attribute.values.push_back(std::move(text));
    }
    while (cursor_.peek() == ' ' || cursor_.peek() == '\t') cursor_.next();
    if (cursor_.peek() == ';') cursor_.next();
  }

  // From '{' to '}'.
  void read_body(LibertyGroup& group, int depth) {
    const TextPlace begin = cursor_.place();
    if (depth >= kDeepest) cursor_.fail(begin, "groups are nested too deeply for a Liberty file");
    cursor_.next();
    for (;;) {
      skip_unread();
      if (cursor_.at_end())
        cursor_.fail(begin,
                     fmt::format("the '{{' of this '{}' is never closed: the file is cut short", group.name));
      if (cursor_.peek() == '}') {
        cursor_.next();
        return;
      }
      if (cursor_.peek() == ';') {
        cursor_.next();
        continue;
      }
      const TextPlace where = cursor_.place();
      const std::string name = read_name();
      if (name.empty())
        cursor_.fail(where, fmt::format("expected an attribute or a group, but found '{}'", cursor_.peek()));
      skip_unread();
      if (cursor_.peek() == ':') {
        LibertyAttribute attribute{name, {}, where, where};
        read_simple(attribute);
        group.attributes.push_back(std::move(attribute));
        continue;
      }
      auto [values, first] = read_arguments();
      skip_unread();
      if (cursor_.peek() == '{') {
        group.groups.emplace_back();
        LibertyGroup& inner = group.groups.back();
        inner.name = name;
        inner.arguments = std::move(values);
        inner.where = where;
        read_body(inner, depth + 1);
      } else {
        group.attributes.push_back({name, std::move(values), where, first});
      }
    }
  }

  TextCursor cursor_;
};

}  // namespace

const LibertyAttribute* LibertyGroup::find(std::string_view attribute) const {
  for (std::size_t i = attributes.size(); i-- > 0;)
    if (attributes[i].name == attribute) return &attributes[i];
  return nullptr;
}

std::string LibertyGroup::value(std::string_view attribute) const {
  const LibertyAttribute* found = find(attribute);
  return found == nullptr || found->values.empty() ? std::string() : found->values[0];
}

LibertyGroup parse_liberty_tree(const std::string& file, std::string_view text, ImportProblems& problems) {
  LibertyGroup library;
  try {
    Parser(file, text, problems).parse(library);
  } catch (const UnreadableText&) {
    // On the list.
  }
  return library;
}

}  // namespace kintsugi::faults

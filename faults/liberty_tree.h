// The groups and attributes of a Liberty file, before anything is made of them.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "faults/import_text.h"

namespace kintsugi::faults {

// name : value;  or  name (value, value, ...);  Quotes are gone; lines that a backslash joins are one value.
struct LibertyAttribute {
  std::string name;
  std::vector<std::string> values;
  TextPlace where;        // of the name
  TextPlace value_where;  // of the first value's first character
};

// name (arguments) { ... }
struct LibertyGroup {
  std::string name;
  std::vector<std::string> arguments;
  std::vector<LibertyAttribute> attributes;
  std::vector<LibertyGroup> groups;
  TextPlace where;

  // The last one of that name, as Liberty has it; null if there is none.
  const LibertyAttribute* find(std::string_view attribute) const;
  std::string value(std::string_view attribute) const;  // its first value, or ""
};

// The library group. Lists what is wrong; what was read before is returned.
LibertyGroup parse_liberty_tree(const std::string& file, std::string_view text, ImportProblems& problems);

}  // namespace kintsugi::faults

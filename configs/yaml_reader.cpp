// Typed values out of one mapping.
#include "configs/yaml_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "common/text.h"
#include "configs/yaml_state.h"

namespace kintsugi::configs {
namespace {

std::string integer_range(std::int64_t low, std::int64_t high) {
  if (low == high) return fmt::format("{} (nothing else exists yet)", low);
  if (high == std::numeric_limits<std::int64_t>::max())
    return low == std::numeric_limits<std::int64_t>::min() ? "an integer"
                                                           : fmt::format("an integer of at least {}", low);
  return fmt::format("an integer from {} to {}", low, high);
}

std::string real_range(double low, double high) {
  return fmt::format("a number from {:g} to {:g}", low, high);
}

bool plain(const YAML::Node& node) {
  return node.IsScalar() && node.Tag() != "!";
}

// Why a scalar that looks like a number to a person is not one here.
std::string number_hint(const YAML::Node& node, bool whole) {
  if (!node.IsScalar()) return "";
  if (node.Tag() == "!") return "; remove the quotes";
  const std::string& text = node.Scalar();
  if (whole && common::parse_real(text)) return "; write it without a fraction or exponent";
  return "; write plain decimal digits, without leading zeros, signs or units";
}

}  // namespace

const Section::State::Entry* Section::State::find(const std::string& key) {
  if (std::find(asked.begin(), asked.end(), key) == asked.end()) asked.push_back(key);
  for (const Entry& entry : entries)
    if (entry.key == key) return &entry;
  return nullptr;
}

void Section::error(const std::string& message) {
  if (!state_->missing) state_->file->diagnostics.error(state_->where, message);
}

void Section::error(const std::string& name, const std::string& message) {
  if (!state_->missing) state_->file->diagnostics.error(where(name), message);
}

common::Location Section::where() const {
  return state_->where;
}

common::Location Section::where(const std::string& name) const {
  for (const auto& entry : state_->entries)
    if (entry.key == name) return entry.value_where;
  return state_->where;
}

bool Section::has(const std::string& name) const {
  return state_->find(name) != nullptr;
}

YAML::Node Section::raw(const std::string& name) {
  const auto* entry = state_->find(name);
  return entry ? entry->value : YAML::Node(YAML::NodeType::Undefined);
}

std::vector<std::string> Section::keys() const {
  std::vector<std::string> keys;
  for (const auto& entry : state_->entries) keys.push_back(entry.key);
  return keys;
}

std::int64_t Section::integer(const std::string& name, std::int64_t low, std::int64_t high,
                              std::optional<std::int64_t> fallback) {
  const std::string allowed = integer_range(low, high);
  const auto* entry = state_->find(name);
  if (!entry) {
    if (!fallback) error(fmt::format("'{}' needs the key '{}': {}", state_->dotted, name, allowed));
    return fallback.value_or(low);
  }
  const auto value = plain(entry->value) ? common::parse_integer(entry->value.Scalar()) : std::nullopt;
  if (!value) {
    error(name, fmt::format("'{}' must be {}, but is {}{}", name, allowed, describe(entry->value),
                            number_hint(entry->value, true)));
    return fallback.value_or(low);
  }
  if (*value < low || *value > high) {
    error(name, fmt::format("'{}' must be {}, but is {}", name, allowed, *value));
    return fallback.value_or(low);
  }
  return *value;
}

double Section::real(const std::string& name, double low, double high, std::optional<double> fallback) {
  const std::string allowed = real_range(low, high);
  const auto* entry = state_->find(name);
  if (!entry) {
    if (!fallback) error(fmt::format("'{}' needs the key '{}': {}", state_->dotted, name, allowed));
    return fallback.value_or(low);
  }
  const auto value = plain(entry->value) ? common::parse_real(entry->value.Scalar()) : std::nullopt;
  if (!value) {
    error(name, fmt::format("'{}' must be {}, but is {}{}", name, allowed, describe(entry->value),
                            number_hint(entry->value, false)));
    return fallback.value_or(low);
  }
  if (*value < low || *value > high) {
    error(name, fmt::format("'{}' must be {}, but is {}", name, allowed, entry->value.Scalar()));
    return fallback.value_or(low);
  }
  return *value;
}

bool Section::boolean(const std::string& name, std::optional<bool> fallback) {
  const auto* entry = state_->find(name);
  if (!entry) {
    if (!fallback) error(fmt::format("'{}' needs the key '{}': true or false", state_->dotted, name));
    return fallback.value_or(false);
  }
  const auto value = plain(entry->value) ? common::parse_boolean(entry->value.Scalar()) : std::nullopt;
  if (!value) {
    const bool quoted = entry->value.IsScalar() && !plain(entry->value);
    error(name, fmt::format("'{}' must be true or false, but is {}{}", name, describe(entry->value),
                            quoted ? "; remove the quotes" : "; write the word true or the word false"));
    return fallback.value_or(false);
  }
  return *value;
}

std::string Section::text(const std::string& name, std::optional<std::string> fallback) {
  const auto* entry = state_->find(name);
  if (!entry) {
    if (!fallback) error(fmt::format("'{}' needs the key '{}': a text", state_->dotted, name));
    return fallback.value_or("");
  }
  if (!entry->value.IsScalar() || entry->value.Scalar().empty()) {
    error(name, fmt::format("'{}' must be a text, but is {}; write it out or remove the key", name,
                            entry->value.IsScalar() ? "empty" : describe(entry->value)));
    return fallback.value_or("");
  }
  return entry->value.Scalar();
}

std::filesystem::path Section::path(const std::string& name) {
  const auto* entry = state_->find(name);
  if (!entry) {
    error(fmt::format("'{}' needs the key '{}': the path of a file", state_->dotted, name));
    return {};
  }
  return optional_path(name).value_or(std::filesystem::path());
}

std::optional<std::filesystem::path> Section::optional_path(const std::string& name) {
  const auto* entry = state_->find(name);
  if (!entry) return std::nullopt;
  if (!entry->value.IsScalar() || entry->value.Scalar().empty()) {
    error(name, fmt::format("'{}' must be the path of a file, but is {}; write the path or remove the key",
                            name, entry->value.IsScalar() ? "empty" : describe(entry->value)));
    return std::nullopt;
  }
  const std::filesystem::path written = entry->value.Scalar();
  // What a user types on the command line is meant from where they stand.
  if (state_->file->override_of(state_->dotted + "." + name)) return written;
  return state_->file->path.parent_path() / written;
}

std::vector<double> Section::reals(const std::string& name, double low, double high,
                                   std::optional<std::vector<double>> fallback) {
  const std::string allowed = real_range(low, high);
  const auto* entry = state_->find(name);
  if (!entry) {
    if (!fallback)
      error(fmt::format("'{}' needs the key '{}': a list like [0.1, 0.2], each {}", state_->dotted, name,
                        allowed));
    return fallback.value_or(std::vector<double>());
  }
  if (!entry->value.IsSequence()) {
    error(name, fmt::format("'{}' must be a list like [0.1, 0.2], each {}, but is {}", name, allowed,
                            describe(entry->value)));
    return fallback.value_or(std::vector<double>());
  }
  std::vector<double> values;
  for (std::size_t i = 0; i < entry->value.size(); ++i) {
    const YAML::Node item = entry->value[i];
    const auto value = plain(item) ? common::parse_real(item.Scalar()) : std::nullopt;
    if (value && *value >= low && *value <= high) {
      values.push_back(*value);
      continue;
    }
    state_->file->diagnostics.error(
        state_->file->locate(item, fmt::format("{}.{}.{}", state_->dotted, name, i)),
        fmt::format("entry {} of '{}' must be {}, but is {}{}", i + 1, name, allowed, describe(item),
                    value ? "" : number_hint(item, false)));
  }
  return values;
}

std::vector<std::int64_t> Section::integers(const std::string& name, std::int64_t low, std::int64_t high,
                                            std::optional<std::vector<std::int64_t>> fallback) {
  const std::string allowed = integer_range(low, high);
  const auto* entry = state_->find(name);
  if (!entry) {
    if (!fallback)
      error(fmt::format("'{}' needs the key '{}': a list like [10, 20], each {}", state_->dotted, name,
                        allowed));
    return fallback.value_or(std::vector<std::int64_t>());
  }
  if (!entry->value.IsSequence()) {
    error(name, fmt::format("'{}' must be a list like [10, 20], each {}, but is {}", name, allowed,
                            describe(entry->value)));
    return fallback.value_or(std::vector<std::int64_t>());
  }
  std::vector<std::int64_t> values;
  for (std::size_t i = 0; i < entry->value.size(); ++i) {
    const YAML::Node item = entry->value[i];
    const auto value = plain(item) ? common::parse_integer(item.Scalar()) : std::nullopt;
    if (value && *value >= low && *value <= high) {
      values.push_back(*value);
      continue;
    }
    state_->file->diagnostics.error(
        state_->file->locate(item, fmt::format("{}.{}.{}", state_->dotted, name, i)),
        fmt::format("entry {} of '{}' must be {}, but is {}{}", i + 1, name, allowed, describe(item),
                    value ? "" : number_hint(item, true)));
  }
  return values;
}

int Section::choice_index(const std::string& name, const std::vector<std::string>& known, bool has_fallback) {
  const auto* entry = state_->find(name);
  if (!entry) {
    if (!has_fallback)
      error(fmt::format("'{}' needs the key '{}': {}", state_->dotted, name, common::join_or(known)));
    return -1;
  }
  if (entry->value.IsScalar())
    for (std::size_t i = 0; i < known.size(); ++i)
      if (entry->value.Scalar() == known[i]) return static_cast<int>(i);
  const auto near = entry->value.IsScalar() ? common::nearest(entry->value.Scalar(), known) : std::nullopt;
  error(name,
        fmt::format("'{}' must be {}, but is {}{}", name, common::join_or(known), describe(entry->value),
                    near && known.size() > 1 ? fmt::format("; did you mean {}?", *near) : ""));
  return -1;
}

Section Section::section(const std::string& name) {
  if (auto found = optional_section(name)) return *found;
  if (!state_->find(name))
    error(fmt::format("'{}' needs the key '{}': a mapping of keys to values (docs/chip-file.md lists them)",
                      state_->dotted, name));
  Section absent;
  absent.state_ = std::make_shared<State>();
  absent.state_->file = state_->file;
  absent.state_->missing = true;
  absent.state_->dotted = state_->dotted + "." + name;
  absent.state_->where = where(name);
  return absent;
}

std::optional<Section> Section::optional_section(const std::string& name) {
  const auto* entry = state_->find(name);
  if (!entry) return std::nullopt;
  Section found;
  const std::string dotted = state_->dotted + "." + name;
  if (entry->value.IsMap()) {
    found.state_ = state_->file->open(entry->value, dotted, entry->key_where);
    return found;
  }
  error(name,
        fmt::format("'{}' must be a mapping like {{key: value}}, but is {}", name, describe(entry->value)));
  // The key is there: the caller goes on with the defaults of an empty mapping.
  found.state_ = std::make_shared<State>();
  found.state_->file = state_->file;
  found.state_->missing = true;
  found.state_->dotted = dotted;
  found.state_->where = entry->value_where;
  return found;
}

std::vector<Section> Section::sections(const std::string& name) {
  std::vector<Section> found;
  const auto* entry = state_->find(name);
  if (!entry) {
    error(fmt::format("'{}' needs the key '{}': a list of mappings (docs/chip-file.md lists their keys)",
                      state_->dotted, name));
    return found;
  }
  if (!entry->value.IsSequence()) {
    error(name, fmt::format("'{}' must be a list of mappings, but is {}; start each entry with '- '", name,
                            describe(entry->value)));
    return found;
  }
  for (std::size_t i = 0; i < entry->value.size(); ++i) {
    const YAML::Node item = entry->value[i];
    const std::string dotted = fmt::format("{}.{}.{}", state_->dotted, name, i);
    if (!item.IsMap()) {
      const bool empty = !item.IsDefined() || item.IsNull();
      state_->file->diagnostics.error(
          empty ? entry->value_where : state_->file->locate(item, dotted),
          fmt::format("entry {} of '{}' must be a mapping like {{key: value}}, but is {}", i + 1, name,
                      describe(item)));
      continue;
    }
    Section section;
    section.state_ = state_->file->open(item, dotted, state_->file->locate(item, dotted));
    found.push_back(section);
  }
  return found;
}

}  // namespace kintsugi::configs

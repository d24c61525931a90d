// Strict YAML: typed values with ranges, and every problem of a file reported at its line and column.
//
// Use: open a file, take its one top-level mapping as a Section, ask it for keys, then call finish(). What a
// getter cannot read it reports and replaces by the default, so that reading goes on and all problems are
// listed. Keys that nobody asked for are unknown and refused with the nearest asked-for one. yaml-cpp's own
// conversions are not used: they accept 010, yes, .inf.
#pragma once

#include <yaml-cpp/yaml.h>

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common/diagnostics.h"

namespace kintsugi::configs {

// From `--set chip.array.rows=128`: the dotted key starts with a file kind's top-level key, and applies to
// every file of that kind that is read. Values are YAML ("[64, 128]" is a list).
struct Override {
  std::string key;
  std::string value;
};
using Overrides = std::vector<Override>;

// Parses "key=value"; throws common::InputError on anything else.
Override parse_override(const std::string& text);

class YamlFile;

// One mapping of a file. Copies share what has been asked for.
class Section {
 public:
  // Scalars. `name` is the key; without a default the key is required. Ranges are inclusive and named in the
  // message.
  std::int64_t integer(const std::string& name, std::int64_t low, std::int64_t high,
                       std::optional<std::int64_t> fallback = std::nullopt);
  double real(const std::string& name, double low, double high,
              std::optional<double> fallback = std::nullopt);
  bool boolean(const std::string& name, std::optional<bool> fallback = std::nullopt);
  std::string text(const std::string& name, std::optional<std::string> fallback = std::nullopt);
  // A path, resolved against the file's folder; from --set, against the working directory. Not checked for
  // existence.
  std::filesystem::path path(const std::string& name);
  std::optional<std::filesystem::path> optional_path(const std::string& name);
  std::vector<double> reals(const std::string& name, double low, double high,
                            std::optional<std::vector<double>> fallback = std::nullopt);
  std::vector<std::int64_t> integers(const std::string& name, std::int64_t low, std::int64_t high,
                                     std::optional<std::vector<std::int64_t>> fallback = std::nullopt);

  // One word of a fixed list: choice("bypass", {{"fap", Bypass::fap}, {"none", Bypass::none}}, Bypass::fap).
  template <class T>
  T choice(const std::string& name, const std::vector<std::pair<std::string, T>>& words,
           std::optional<T> fallback = std::nullopt) {
    std::vector<std::string> known;
    for (const auto& word : words) known.push_back(word.first);
    const int i = choice_index(name, known, fallback.has_value());
    return i >= 0 ? words[i].second : fallback.value_or(words.front().second);
  }

  // A nested mapping. `section` requires it; `optional_section` returns nullopt if the key is absent.
  Section section(const std::string& name);
  std::optional<Section> optional_section(const std::string& name);
  // A list of mappings.
  std::vector<Section> sections(const std::string& name);

  bool has(const std::string& name) const;  // also counts as "known"
  // The raw node of a key (marks it as known), for free-form values; undefined node if absent.
  YAML::Node raw(const std::string& name);
  // All keys in file order.
  std::vector<std::string> keys() const;

  common::Location where() const;                         // of the mapping itself
  common::Location where(const std::string& name) const;  // of the value of a key, or of the mapping
  // Reports a problem at a key's value (or at the mapping if the key is absent).
  void error(const std::string& name, const std::string& message);
  void error(const std::string& message);

 private:
  friend class YamlFile;
  struct State;
  int choice_index(const std::string& name, const std::vector<std::string>& known, bool has_fallback);
  std::shared_ptr<State> state_;
};

class YamlFile {
 public:
  // Reads `file` (gzip accepted), parses it, checks that it is one mapping with exactly the top-level key
  // `kind` ("chip", "network", …), applies the overrides that start with "<kind>.". Throws InputError at once
  // if the file cannot be read or is not YAML (with line and column).
  YamlFile(const std::filesystem::path& file, const std::string& kind, const Overrides& overrides = {});

  Section root();
  common::Diagnostics& diagnostics();
  const std::filesystem::path& path() const;
  // "file" as it should be written in messages.
  std::string name() const;

  // Reports unknown keys in every section that was handed out, then throws InputError if there was any
  // problem.
  void finish();

 private:
  friend class Section;
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

// Location of a node (yaml-cpp counts from 0; a node without a mark gives the whole file).
common::Location location_of(const YAML::Node& node, const std::string& file);

}  // namespace kintsugi::configs

// What stands behind YamlFile and Section: private to yaml_file.cpp and yaml_reader.cpp.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "configs/yaml_reader.h"

namespace kintsugi::configs {

struct YamlFile::Impl {
  std::filesystem::path path;
  std::string name;
  std::string kind;
  common::Diagnostics diagnostics;
  YAML::Node document;
  // Dotted paths that an override set (or created on its way), and how the user wrote it.
  std::map<std::string, std::string> overridden;
  // Every mapping that was handed out, by dotted path, in order of handing out.
  std::vector<std::shared_ptr<Section::State>> sections;
  std::unordered_map<std::string, std::shared_ptr<Section::State>> by_path;

  // The override that gave the value at `dotted`, or nullptr if it comes from the file.
  const std::string* override_of(const std::string& dotted) const;
  common::Location locate(const YAML::Node& node, const std::string& dotted) const;
  void apply(const Override& change);
  // The state of the mapping at `dotted`, made at the first call; reports duplicate and odd keys
  // then. `where` stands for the mapping as a whole: its key, or the entry of a list.
  std::shared_ptr<Section::State> open(const YAML::Node& node, const std::string& dotted,
                                       const common::Location& where);
};

struct Section::State {
  struct Entry {
    std::string key;
    YAML::Node value;
    common::Location key_where;
    common::Location value_where;
  };

  YamlFile::Impl* file = nullptr;
  std::string dotted;
  // Stands for a mapping that is absent or of the wrong kind: that was reported, so its keys are not.
  bool missing = false;
  common::Location where;
  std::vector<Entry> entries;
  std::vector<std::string> asked;  // in the order of asking

  // Marks `key` as known; nullptr if the file does not have it.
  const Entry* find(const std::string& key);
};

// A scalar or a kind of node as it should stand in a message: "'abc'", "a list".
std::string describe(const YAML::Node& node);

// Parses; throws common::InputError at line and column for what is not YAML, for anchors, aliases, tags and
// for more than one document. `label` stands for the place in messages if it is not a file with lines.
YAML::Node parse_yaml(const std::string& text, const std::string& file, bool one_line);

}  // namespace kintsugi::configs

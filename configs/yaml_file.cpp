// Opening a YAML file: syntax, what of YAML is not accepted, overrides, unknown keys.
#include <fmt/format.h>
#include <yaml-cpp/eventhandler.h>

#include <algorithm>
#include <sstream>

#include "common/files.h"
#include "common/text.h"
#include "configs/yaml_state.h"

namespace kintsugi::configs {
namespace {

const std::vector<std::string> kKinds = {"chip",      "network", "workload", "campaign",
                                         "overclock", "suite",   "fault_map"};

common::Location location_of(const YAML::Mark& mark, const std::string& file) {
  if (mark.is_null() || mark.line < 0) return {file};
  return {file, mark.line + 1, mark.column + 1};
}

// Collects the parts of YAML that this project does not accept, because a reader of the file would not see
// what value a key has: anchors, aliases and tags.
class StrictHandler : public YAML::EventHandler {
 public:
  StrictHandler(const std::string& file, common::Diagnostics& diagnostics)
      : file_(file), diagnostics_(diagnostics) {}

  void OnDocumentStart(const YAML::Mark& mark) override {
    if (++documents_ == 2) refuse(mark, "a second YAML document starts here; put it into a file of its own");
  }
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override { check(mark, "?", anchor); }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override {
    refuse(mark, "aliases (*name) are not supported; write the value out here");
  }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string&) override {
    check(mark, tag, anchor);
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    check(mark, tag, anchor);
  }
  void OnSequenceEnd() override {}
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    check(mark, tag, anchor);
  }
  void OnMapEnd() override {}

 private:
  void refuse(const YAML::Mark& mark, const std::string& message) {
    diagnostics_.error(location_of(mark, file_), message);
  }
  void check(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor) {
    if (anchor != 0)
      refuse(mark, "anchors (&name) are not supported; write the value out wherever it is used");
    if (!tag.empty() && tag != "?" && tag != "!")
      refuse(mark, fmt::format("the tag '{}' is not supported; write the plain value", tag));
  }

  const std::string& file_;
  common::Diagnostics& diagnostics_;
  int documents_ = 0;
};

// Whether line `number` (from 0) has a tab before its first word.
bool tab_indents(const std::string& text, int number) {
  std::size_t at = 0;
  for (int line = 0; line < number && at != std::string::npos; ++line) {
    at = text.find('\n', at);
    if (at != std::string::npos) ++at;
  }
  if (at == std::string::npos) return false;
  const std::size_t word = text.find_first_not_of(" \t", at);
  return text.substr(at, word - at).find('\t') != std::string::npos;
}

std::vector<std::string> split(const std::string& dotted) {
  std::vector<std::string> parts(1);
  for (const char c : dotted) {
    if (c == '.')
      parts.emplace_back();
    else
      parts.back() += c;
  }
  return parts;
}

std::string found_key(const YAML::Node& mapping) {
  std::vector<std::string> keys;
  for (const auto& entry : mapping)
    if (entry.first.IsScalar()) keys.push_back("'" + entry.first.Scalar() + "'");
  return keys.empty() ? "nothing" : common::join_or(keys);
}

}  // namespace

common::Location location_of(const YAML::Node& node, const std::string& file) {
  return location_of(node.IsDefined() ? node.Mark() : YAML::Mark::null_mark(), file);
}

std::string describe(const YAML::Node& node) {
  if (!node.IsDefined() || node.IsNull()) return "empty";
  if (node.IsSequence()) return "a list";
  if (node.IsMap()) return "a mapping";
  std::string text = node.Scalar();
  constexpr std::size_t kLongest = 60;
  if (text.size() > kLongest) text = text.substr(0, kLongest) + "...";
  return node.Tag() == "!" ? fmt::format("the quoted text \"{}\"", text) : fmt::format("'{}'", text);
}

YAML::Node parse_yaml(const std::string& text, const std::string& file, bool one_line) {
  common::Diagnostics diagnostics;
  if (!one_line) diagnostics.add_source(file, text);
  const auto place = [&](const YAML::Mark& mark) {
    return one_line ? common::Location{file} : location_of(mark, file);
  };
  try {
    // The events are looked at only where there is something to refuse: large fault maps have none of it.
    if (text.find_first_of("&*!") != std::string::npos || text.find("---") != std::string::npos) {
      std::istringstream stream(text);
      YAML::Parser parser(stream);
      common::Diagnostics refused;
      if (!one_line) refused.add_source(file, text);
      StrictHandler handler(file, refused);
      // Two at most: a second one is refused already, and yaml-cpp finds one document after another, without
      // end, in some malformed files.
      for (int document = 0; document < 2 && parser.HandleNextDocument(handler); ++document) {
      }
      if (!refused.empty() && one_line)
        throw common::InputError({file},
                                 "the value uses YAML that is not supported (anchors, aliases, tags); "
                                 "write the plain value, quoted if it is text");
      refused.throw_if_any();
    }
    return YAML::Load(text);
  } catch (const YAML::Exception& problem) {
    const char* hint = one_line ? "check the brackets and quotes of the value"
                       : tab_indents(text, problem.mark.line)
                           ? "this line is indented with a tab; use spaces"
                           : "check the indentation (spaces, no tabs), colons, "
                             "quotes and brackets here and just above";
    diagnostics.error(place(problem.mark), fmt::format("this is not valid YAML ({}); {}", problem.msg, hint));
    diagnostics.throw_if_any();
    throw;  // not reached
  }
}

Override parse_override(const std::string& text) {
  const auto equals = text.find('=');
  const common::Location where{"--set " + text};
  if (equals == std::string::npos)
    throw common::InputError(where, "needs the form key=value, for example --set chip.array.rows=128");
  Override change{text.substr(0, equals), text.substr(equals + 1)};
  const std::vector<std::string> parts = split(change.key);
  for (const std::string& part : parts)
    if (part.empty() ||
        part.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") !=
            std::string::npos)
      throw common::InputError(where,
                               fmt::format("'{}' is not a dotted key; write it like chip.array.rows or "
                                           "network.layers.0.out_channels",
                                           change.key));
  if (std::find(kKinds.begin(), kKinds.end(), parts[0]) == kKinds.end()) {
    const auto near = common::nearest(parts[0], kKinds);
    throw common::InputError(
        where, fmt::format("'{}' is no kind of file{} the key starts with {}", parts[0],
                           near ? fmt::format("; did you mean '{}'?", *near) : ";", common::join_or(kKinds)));
  }
  if (parts.size() < 2)
    throw common::InputError(
        where,
        fmt::format("a whole {} cannot be replaced; name one key of it, like {}.name", parts[0], parts[0]));
  if (change.value.empty()) throw common::InputError(where, "there is no value after '='; write key=value");
  const YAML::Node value = parse_yaml(change.value, where.file, true);
  if (!value.IsDefined() || value.IsNull())
    throw common::InputError(where, "the value after '=' is empty; write key=value");
  return change;
}

const std::string* YamlFile::Impl::override_of(const std::string& dotted) const {
  if (overridden.empty()) return nullptr;
  for (std::string place = dotted;;) {
    const auto at = overridden.find(place);
    if (at != overridden.end()) return &at->second;
    const auto dot = place.rfind('.');
    if (dot == std::string::npos) return nullptr;
    place.resize(dot);
  }
}

common::Location YamlFile::Impl::locate(const YAML::Node& node, const std::string& dotted) const {
  if (const std::string* label = override_of(dotted)) return {*label};
  return location_of(node, name);
}

void YamlFile::Impl::apply(const Override& change) {
  const std::string label = fmt::format("--set {}={}", change.key, change.value);
  const std::vector<std::string> parts = split(change.key);
  // YAML::Node's assignment changes the node it refers to; walking needs reset().
  YAML::Node at = document;
  std::string dotted;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const std::string parent = dotted;
    dotted += (i == 0 ? "" : ".") + parts[i];
    const bool last = i + 1 == parts.size();
    YAML::Node next;
    if (at.IsSequence()) {
      const auto index = common::parse_integer(parts[i]);
      if (!index || *index < 0 || *index >= static_cast<std::int64_t>(at.size())) {
        diagnostics.error({label},
                          at.size() == 0
                              ? fmt::format("'{}' is an empty list; give the whole list instead", parent)
                              : fmt::format("'{}' is a list: after it comes the number of an entry, 0 to "
                                            "{}, not '{}'",
                                            parent, at.size() - 1, parts[i]));
        return;
      }
      next.reset(at[static_cast<std::size_t>(*index)]);
    } else if (at.IsMap()) {
      next.reset(at[parts[i]]);
      if (!next.IsDefined() || next.IsNull()) {
        overridden[dotted] = label;
        at[parts[i]] = last ? YAML::Node(YAML::NodeType::Null) : YAML::Node(YAML::NodeType::Map);
        next.reset(at[parts[i]]);
      }
    } else {
      diagnostics.error({label},
                        fmt::format("'{}' is {} and has no keys; set '{}' itself to a mapping: --set "
                                    "'{}={{{}: ...}}'",
                                    parent, describe(at), parent, parent, parts[i]));
      return;
    }
    at.reset(next);
  }
  // What an earlier override set below this key is replaced with it.
  std::erase_if(overridden, [&](const auto& entry) { return entry.first.starts_with(change.key + "."); });
  overridden[change.key] = label;
  at = parse_yaml(change.value, label, true);
}

std::shared_ptr<Section::State> YamlFile::Impl::open(const YAML::Node& node, const std::string& dotted,
                                                     const common::Location& where) {
  if (const auto known = by_path.find(dotted); known != by_path.end()) return known->second;
  auto state = std::make_shared<Section::State>();
  state->file = this;
  state->dotted = dotted;
  state->where = where;
  for (const auto& entry : node) {
    const YAML::Node key = entry.first;
    if (!key.IsScalar()) {
      diagnostics.error(location_of(key, name), "a key must be a plain word");
      continue;
    }
    const std::string place = dotted + "." + key.Scalar();
    const common::Location key_where = locate(key, place);
    if (key.Scalar() == "<<") {
      diagnostics.error(key_where, "merge keys (<<) are not supported; write the keys out here");
      continue;
    }
    const auto earlier = std::find_if(state->entries.begin(), state->entries.end(),
                                      [&](const auto& other) { return other.key == key.Scalar(); });
    if (earlier != state->entries.end()) {
      diagnostics.error(location_of(key, name),
                        fmt::format("duplicate key '{}': it was already given on line {}; "
                                    "keep one of the two",
                                    key.Scalar(), earlier->key_where.line));
      continue;
    }
    // An empty value has no place of its own.
    const bool empty = !entry.second.IsDefined() || entry.second.IsNull();
    state->entries.push_back(
        {key.Scalar(), entry.second, key_where, empty ? key_where : locate(entry.second, place)});
  }
  sections.push_back(state);
  by_path[dotted] = state;
  return state;
}

YamlFile::YamlFile(const std::filesystem::path& file, const std::string& kind, const Overrides& overrides)
    : impl_(std::make_shared<Impl>()) {
  impl_->path = file;
  impl_->name = file.string();
  impl_->kind = kind;
  const std::string text = common::read_file_maybe_gzip(file);
  impl_->diagnostics.add_source(impl_->name, text);
  impl_->document.reset(parse_yaml(text, impl_->name, false));

  common::Diagnostics& diagnostics = impl_->diagnostics;
  const YAML::Node& document = impl_->document;
  if (!document.IsDefined() || document.IsNull())
    throw common::InputError({impl_->name},
                             fmt::format("the file is empty; a {} file starts with '{}:'", kind, kind));
  if (!document.IsMap()) {
    diagnostics.error(location_of(document, impl_->name),
                      fmt::format("a {} file is a mapping that starts with '{}:', but this is {}", kind, kind,
                                  describe(document)));
    diagnostics.throw_if_any();
  }
  const YAML::Node top = document[kind];
  if (!top.IsDefined()) {
    diagnostics.error(
        location_of(document, impl_->name),
        fmt::format("this is not {0} {1} file: its top-level key should be '{1}' and is {2}; give {0} {1} "
                    "file or correct the key",
                    kind == "overclock" ? "an" : "a", kind, found_key(document)));
    diagnostics.throw_if_any();
  }
  if (!top.IsMap()) {
    diagnostics.error(
        location_of(document, impl_->name),
        fmt::format("'{}' must be a mapping of keys to values, but is {}; indent its keys below "
                    "'{}:'",
                    kind, describe(top), kind));
    diagnostics.throw_if_any();
  }
  for (const auto& entry : document) {
    const YAML::Node key = entry.first;
    if (!key.IsScalar() || key.Scalar() != kind)
      diagnostics.error(
          location_of(key, impl_->name),
          fmt::format("unknown top-level key {}; a {} file has only '{}'", describe(key), kind, kind));
    else if (entry.second != top)
      diagnostics.error(location_of(key, impl_->name),
                        fmt::format("duplicate key '{}'; keep one of the two", kind));
  }
  for (const Override& change : overrides)
    if (change.key.starts_with(kind + ".")) impl_->apply(change);
}

Section YamlFile::root() {
  Section section;
  common::Location where{impl_->name};
  for (const auto& entry : impl_->document)
    if (entry.first.IsScalar() && entry.first.Scalar() == impl_->kind)
      where = location_of(entry.first, impl_->name);
  section.state_ = impl_->open(impl_->document[impl_->kind], impl_->kind, where);
  return section;
}

common::Diagnostics& YamlFile::diagnostics() {
  return impl_->diagnostics;
}
const std::filesystem::path& YamlFile::path() const {
  return impl_->path;
}
std::string YamlFile::name() const {
  return impl_->name;
}

void YamlFile::finish() {
  for (const auto& section : impl_->sections) {
    for (const auto& entry : section->entries) {
      if (std::find(section->asked.begin(), section->asked.end(), entry.key) != section->asked.end())
        continue;
      // A key that is there already is the less likely meaning.
      std::vector<std::string> absent;
      for (const std::string& asked : section->asked) {
        if (std::none_of(section->entries.begin(), section->entries.end(),
                         [&](const auto& other) { return other.key == asked; }))
          absent.push_back(asked);
      }
      auto near = common::nearest(entry.key, absent);
      if (!near) near = common::nearest(entry.key, section->asked);
      impl_->diagnostics.error(
          entry.key_where,
          fmt::format("unknown key '{}' in '{}'{} known keys: {}", entry.key, section->dotted,
                      near ? fmt::format("; did you mean '{}'?", *near) : ";", common::join(section->asked)));
    }
    section->entries.clear();  // a second finish() repeats nothing
  }
  impl_->diagnostics.throw_if_any();
}

}  // namespace kintsugi::configs

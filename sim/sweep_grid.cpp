#include "sim/sweep_grid.h"

#include <fmt/format.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <set>

#include "common/text.h"

namespace kintsugi::sim {
namespace {

using common::InputError;

// What a sweep reads: an override of any other kind of file would do nothing.
const std::vector<std::string> kKinds = {"chip", "workload", "network", "fault_map"};

std::string one_line(const YAML::Node& node) {
  std::string text;
  if (node.IsSequence()) {
    for (const auto& item : node) text += (text.empty() ? "" : ", ") + one_line(item);
    return "[" + text + "]";
  }
  if (node.IsMap()) {
    for (const auto& item : node)
      text += (text.empty() ? "" : ", ") + one_line(item.first) + ": " + one_line(item.second);
    return "{" + text + "}";
  }
  if (!node.IsScalar()) return "null";
  if (node.Tag() != "!") return node.Scalar();
  for (const char c : node.Scalar()) text += c == '\'' ? std::string("''") : std::string(1, c);
  return "'" + text + "'";
}

YAML::Node parse(const std::string& text) {
  try {
    return YAML::Load(text);
  } catch (const YAML::Exception&) {
    return YAML::Node();  // the reader of the file says what is wrong with it
  }
}

}  // namespace

std::int64_t SweepGrid::points() const {
  std::int64_t points = 1;
  for (const SweepAxis& axis : axes) points *= static_cast<std::int64_t>(axis.values.size());
  return points;
}

std::vector<std::size_t> SweepGrid::at(std::int64_t point) const {
  std::vector<std::size_t> numbers(axes.size());
  for (std::size_t i = axes.size(); i-- > 0;) {
    const auto count = static_cast<std::int64_t>(axes[i].values.size());
    numbers[i] = static_cast<std::size_t>(point % count);
    point /= count;
  }
  return numbers;
}

SweepGrid read_sweep_grid(const std::vector<std::string>& sets) {
  SweepGrid grid;
  std::set<std::string> seen;
  std::int64_t points = 1;
  for (const std::string& set : sets) {
    const common::Location where{"--set " + set};
    const auto equals = set.find('=');
    const std::string value = equals == std::string::npos ? "" : set.substr(equals + 1);
    SweepAxis axis;
    std::size_t begin = 0;
    for (;;) {
      const std::size_t comma = std::min(set.find(',', begin), equals);
      const std::size_t end = std::min(comma, set.size());
      axis.keys.push_back(set.substr(begin, end - begin));
      if (comma >= equals) break;
      begin = comma + 1;
    }
    if (equals == std::string::npos) configs::parse_override(set);  // says what is wrong
    for (const std::string& key : axis.keys) {
      configs::parse_override(key + "=" + value);
      const std::string kind = key.substr(0, key.find('.'));
      if (std::find(kKinds.begin(), kKinds.end(), kind) == kKinds.end())
        throw InputError(where, fmt::format("a sweep reads no {} file; keys start with {}", kind,
                                            common::join_or(kKinds)));
      if (!seen.insert(key).second)
        throw InputError(where, fmt::format("'{}' is set more than once; set it once", key));
    }
    const YAML::Node node = parse(value);
    if (!node.IsSequence()) {
      for (const std::string& key : axis.keys) grid.fixed.push_back({key, value});
      continue;
    }
    for (const auto& item : node) axis.values.push_back(one_line(item));
    if (axis.values.empty())
      throw InputError(where,
                       "the list of values is empty; name at least one (an empty list as the value is [[]])");
    points *= static_cast<std::int64_t>(axis.values.size());
    if (points > kMostSweepPoints)
      throw InputError(where,
                       fmt::format("the sweep has more than {} points; use fewer values", kMostSweepPoints));
    grid.axes.push_back(std::move(axis));
  }
  return grid;
}

std::vector<double> read_values(const std::string& option, const std::string& text, double low, double high,
                                bool& is_list) {
  const YAML::Node node = parse(text);
  is_list = node.IsSequence();
  std::vector<std::string> words;
  if (is_list)
    for (const auto& item : node) words.push_back(one_line(item));
  else
    words.push_back(text);
  std::vector<double> values;
  for (const std::string& word : words) {
    const auto value = common::parse_real(word);
    if (!value || !(*value >= low && *value <= high))
      throw InputError(
          fmt::format("kintsugi sweep: error: --{} must be a number from {} to {}, or a list "
                      "like [0.01, 0.1], but '{}' is not",
                      option, common::format_number(low), common::format_number(high), word));
    values.push_back(*value);
  }
  if (values.empty()) throw InputError(fmt::format("kintsugi sweep: error: --{} names no value", option));
  return values;
}

}  // namespace kintsugi::sim

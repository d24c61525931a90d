#include "training/reduce/plan_file_groups.h"

#include <fmt/format.h>

#include <limits>
#include <map>
#include <set>

#include "common/text.h"

namespace kintsugi::training::reduce {
namespace {

using common::format_number;
using common::yaml_scalar;

constexpr std::int64_t kAny = std::numeric_limits<std::int64_t>::max();

// Like a chip's id.
bool names_a_file(const std::string& id) {
  return !id.empty() && id[0] != '.' &&
         id.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.") ==
             std::string::npos;
}

PlannedGroup read_group(configs::Section& section) {
  PlannedGroup group;
  group.id = section.text("id");
  group.bypassed_pes = section.integer("bypassed_pes", 0, kAny);
  group.fault_rate = section.real("fault_rate", 0, 1);
  group.planned_steps = section.integer("planned_steps", 1, kAny);
  group.planned_epochs = section.real("planned_epochs", 0, 1e18);
  group.saving = section.real("saving", -1e18, 1e18);
  const YAML::Node chips = section.raw("chips");
  bool names = chips.IsDefined() && chips.IsSequence();
  for (std::size_t i = 0; names && i < chips.size(); ++i) {
    names = chips[i].IsScalar();
    if (names) group.chips.push_back(chips[i].Scalar());
  }
  if (!names)
    section.error("chips", "'chips' must be a list of chip ids, like [chip-0001, chip-0004]");
  else if (group.chips.size() < 2)
    section.error("chips", fmt::format("group '{}' has {} chip{}; a group has two at least", group.id,
                                       group.chips.size(), group.chips.size() == 1 ? "" : "s"));
  if (!names_a_file(group.id))
    section.error(
        "id",
        fmt::format("group id '{}' cannot name a file; use letters, digits, '_', '-' and '.' (not first)",
                    group.id));
  return group;
}

std::string list_of(const std::vector<std::string>& ids) {
  std::string text;
  for (const std::string& id : ids) text += (text.empty() ? "" : ", ") + id;
  return text;
}

// Chips and groups name each other.
void check_groups(configs::Section& root, const Plan& plan) {
  const char* const kMend = "make 'groups' and the chips' 'group' agree, or run 'kintsugi reduce plan' again";
  std::map<std::string, std::vector<std::string>> chips;
  for (const ChipPlan& chip : plan.chips)
    if (chip.group) chips[*chip.group].push_back(chip.facts.id);
  std::set<std::string> ids;
  for (const PlannedGroup& group : plan.groups.value_or(std::vector<PlannedGroup>())) {
    if (!ids.insert(group.id).second)
      root.error("groups", fmt::format("group '{}' stands in the plan twice", group.id));
    else if (chips[group.id] != group.chips)
      root.error("groups", fmt::format("group '{}' lists [{}], and the chips that name it are [{}], in the "
                                       "plan's order; {}",
                                       group.id, list_of(group.chips), list_of(chips[group.id]), kMend));
  }
  for (const auto& [id, members] : chips)
    if (!ids.contains(id))
      root.error("chips", fmt::format("chip '{}' is in group '{}', which is not among 'groups'; {}",
                                      members.front(), id, kMend));
}

}  // namespace

std::string groups_yaml(const Plan& plan) {
  const auto& groups = plan.groups;
  if (!groups) return "";
  if (groups->empty()) return "  groups: []  # none would have cost less than its chips one by one\n";
  std::string text =
      "  # Chips with one network, retrained once with all PEs pruned that any of them bypasses.\n"
      "  # saving: steps, repair and checks counted, against its chips one by one.\n"
      "  groups:\n";
  for (const PlannedGroup& group : *groups) {
    std::string chips;
    for (const std::string& chip : group.chips) chips += (chips.empty() ? "" : ", ") + yaml_scalar(chip);
    text += fmt::format(
        "    - {{id: {}, bypassed_pes: {}, fault_rate: {}, planned_steps: {}, planned_epochs: {}, saving: "
        "{:.1f},\n       chips: [{}]}}\n",
        yaml_scalar(group.id), group.bypassed_pes, format_number(group.fault_rate), group.planned_steps,
        format_number(group.planned_epochs), group.saving, chips);
  }
  return text;
}

void read_groups(configs::Section& root, Plan& plan) {
  if (root.has("groups")) {
    plan.groups.emplace();
    for (configs::Section& group : root.sections("groups")) plan.groups->push_back(read_group(group));
  }
  check_groups(root, plan);
}

}  // namespace kintsugi::training::reduce

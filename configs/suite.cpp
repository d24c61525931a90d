#include "configs/suite.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "common/text.h"

namespace kintsugi::configs {
namespace {

const std::vector<std::string> kFidelities = {"pe", "cycle", "functional"};

std::vector<Fidelity> read_fidelities(Section& section) {
  std::vector<Fidelity> fidelities;
  const YAML::Node list = section.raw("fidelities");
  if (!list.IsDefined()) return {Fidelity::functional};
  if (!list.IsSequence() || list.size() == 0) {
    section.error("fidelities",
                  fmt::format("'fidelities' must be a list like [cycle, functional], each entry {}",
                              common::join_or(kFidelities)));
    return {Fidelity::functional};
  }
  for (const YAML::Node& item : list) {
    const auto at = item.IsScalar() ? std::find(kFidelities.begin(), kFidelities.end(), item.Scalar())
                                    : kFidelities.end();
    if (at == kFidelities.end()) {
      const auto near = item.IsScalar() ? common::nearest(item.Scalar(), kFidelities) : std::nullopt;
      section.error(
          "fidelities",
          fmt::format("{} is no fidelity{} each entry is {}",
                      item.IsScalar() ? "'" + item.Scalar() + "'" : "an entry of 'fidelities'",
                      near ? fmt::format("; did you mean '{}'?", *near) : ";", common::join_or(kFidelities)));
      continue;
    }
    const auto fidelity = static_cast<Fidelity>(at - kFidelities.begin());
    if (std::find(fidelities.begin(), fidelities.end(), fidelity) != fidelities.end())
      section.error("fidelities", fmt::format("'{}' is listed twice; remove one", item.Scalar()));
    else
      fidelities.push_back(fidelity);
  }
  return fidelities;
}

SuiteCase read_case(Section& section) {
  SuiteCase config;
  config.where = section.where();
  config.name = section.text("name");
  config.chip = section.path("chip");
  config.workload = section.path("workload");
  config.fault_map = section.optional_path("fault_map");
  config.bypass_map = section.optional_path("bypass_map");
  config.no_bypass = section.boolean("no_bypass", false);
  config.fidelities = read_fidelities(section);
  if (config.no_bypass && config.bypass_map)
    section.error("no_bypass", "'no_bypass: true' and a 'bypass_map' contradict each other; remove one");
  return config;
}

}  // namespace

SuiteConfig read_suite(const std::filesystem::path& file, const Overrides& overrides) {
  YamlFile yaml(file, "suite", overrides);
  Section suite = yaml.root();
  SuiteConfig config;
  config.file = file;
  config.name = suite.text("name", file.stem().string());
  const std::size_t before = yaml.diagnostics().size();
  std::map<std::string, common::Location> names;
  for (Section& section : suite.sections("cases")) {
    config.cases.push_back(read_case(section));
    const std::string& name = config.cases.back().name;
    if (name.empty()) continue;
    const auto [earlier, fresh] = names.emplace(name, section.where());
    if (!fresh)
      section.error("name",
                    fmt::format("the name '{}' is already used by the case at {}; records are found by name, "
                                "so give each case its own",
                                name, common::to_string(earlier->second)));
  }
  if (config.cases.empty() && yaml.diagnostics().size() == before)
    suite.error("cases", "'cases' is empty; list at least one case");
  yaml.finish();
  return config;
}

}  // namespace kintsugi::configs

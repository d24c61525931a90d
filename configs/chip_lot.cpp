#include "configs/chip_lot.h"

#include <fmt/format.h>

#include <type_traits>

#include "common/text.h"

namespace kintsugi::configs {
namespace {

// [low, high] of a distribution of fault rates.
template <class Range>
Range read_range(Section& section, const std::string& name) {
  const std::size_t entries = section.raw(name).IsSequence() ? section.raw(name).size() : 0;
  const std::vector<double> ends = section.reals(name, 0, 1);
  if (section.raw(name).IsSequence() && entries != 2)
    section.error(name, fmt::format("'{}' has {} entries; it needs two, [low, high]", name, entries));
  if (ends.size() != 2) return {0, 0};
  if (ends[0] > ends[1])
    section.error(name, fmt::format("'{}' is [{}, {}]; write the lower end first", name,
                                    common::format_number(ends[0]), common::format_number(ends[1])));
  if (std::is_same_v<Range, LogUniform> && ends[0] == 0)
    section.error(name,
                  fmt::format("'{}' cannot start at 0, which has no logarithm; start at 0.0001, say, or use "
                              "'uniform'",
                              name));
  return {ends[0], ends[1]};
}

// Returns the highest rate.
double read_rate(Section& sample, SampleChips& config) {
  const YAML::Node rate = sample.raw("fault_rate");
  if (!rate.IsDefined() || !rate.IsMap()) {
    const double value = sample.real("fault_rate", 0, 1);
    config.fault_rate = value;
    return value;
  }
  Section distribution = sample.section("fault_rate");
  const bool uniform = distribution.has("uniform");
  if (uniform == distribution.has("log_uniform")) {
    distribution.error("'fault_rate' must be a number, {uniform: [low, high]} or {log_uniform: [low, high]}");
    return 0;
  }
  if (uniform) {
    const auto range = read_range<Uniform>(distribution, "uniform");
    config.fault_rate = range;
    return range.high;
  }
  const auto range = read_range<LogUniform>(distribution, "log_uniform");
  config.fault_rate = range;
  return range.high;
}

void read_model(Section& sample, SampleChips& config) {
  using enum SampleModel;
  config.model = sample.choice<SampleModel>("model",
                                            {{"iid", iid},
                                             {"exact", exact},
                                             {"clustered", clustered},
                                             {"rows", rows},
                                             {"columns", columns},
                                             {"radial", radial}},
                                            config.faults ? exact : iid);
  const auto only_with = [&](SampleModel owner, const char* word, std::initializer_list<const char*> keys) {
    if (config.model == owner) return;
    for (const char* key : keys)
      if (sample.has(key))
        sample.error(key,
                     fmt::format("'{}' belongs to 'model: {}' only; remove it or choose that", key, word));
  };
  only_with(clustered, "clustered", {"clustering", "block"});
  only_with(radial, "radial", {"edge_factor", "die_size", "die"});
  if (config.model == clustered) {
    config.clustering = sample.real("clustering", 1e-6, 1e6, config.clustering);
    config.block = static_cast<int>(sample.integer("block", 1, 1024, config.block));
  }
  if (config.model == radial) {
    config.edge_factor = sample.real("edge_factor", 1, 1e6, config.edge_factor);
    config.die_size = sample.real("die_size", 0.005, 1.4, config.die_size);
    if (sample.has("die")) {
      const std::vector<double> die = sample.reals("die", -1, 1);
      if (die.size() == 2)
        config.die = std::pair(die[0], die[1]);
      else
        sample.error("die", "'die' is the place of a die, [x, y], in wafer radii from the wafer's centre");
    }
  }
  if (config.faults && config.model != exact && config.model != rows && config.model != columns)
    sample.error("faults",
                 "'faults' goes with the models exact, rows and columns; write 'fault_rate' for others");
}

void read_sites(Section& sample, SampleChips& config) {
  const YAML::Node sites = sample.raw("sites");
  if (!sites.IsDefined()) return;
  if (!sites.IsMap()) {
    if (sites.IsScalar() && sites.Scalar() == "area")
      config.sites = AreaSites{};
    else if (!sites.IsScalar() || sites.Scalar() != "unknown")
      sample.error("sites",
                   "'sites' must be unknown, area, or weights like {multiplier: 5, adder: 3} of "
                   "weight_register, multiplier, adder, psum_register and activation_register");
    return;
  }
  Section weights = sample.section("sites");
  static constexpr std::array<const char*, 5> kSites = {"weight_register", "multiplier", "adder",
                                                        "psum_register", "activation_register"};
  SiteWeights values{};
  double sum = 0;
  for (std::size_t i = 0; i < kSites.size(); ++i) sum += values[i] = weights.real(kSites[i], 0, 1e9, 0);
  if (sum == 0) weights.error("'sites' gives no site a weight above 0, so no fault has a place");
  config.sites = values;
}

SampleChips read_sample(Section sample) {
  SampleChips config;
  config.count = static_cast<int>(sample.integer("count", 1, 1'000'000));
  double highest = 0;
  if (sample.has("faults")) {
    config.faults = sample.integer("faults", 0, 1 << 20);
    config.fault_rate = 0.0;
    if (sample.has("fault_rate"))
      sample.error("fault_rate", "give 'fault_rate' or 'faults', not both; remove one");
  } else {
    highest = read_rate(sample, config);
  }
  read_model(sample, config);
  if (config.model == SampleModel::clustered && highest >= 1)
    sample.error("fault_rate", "'model: clustered' needs fault rates below 1");
  read_sites(sample, config);
  config.escapes = sample.integer("escapes", 0, 1 << 20, 0);
  return config;
}

}  // namespace

ChipsConfig read_chips(Section chips) {
  const bool sample = chips.has("sample");
  const bool files = chips.has("fault_maps");
  const bool lot = chips.has("lot");
  if (static_cast<int>(sample) + static_cast<int>(files) + static_cast<int>(lot) != 1) {
    chips.error(
        "'chips' needs exactly one of 'sample: {count: n, fault_rate: x}', 'fault_maps: \"folder/*.yaml\"' "
        "and 'lot: lot.csv'");
    return SampleChips{};
  }
  if (files) return FaultMapFiles{chips.path("fault_maps").string()};
  if (lot) return LotFile{chips.path("lot")};
  return read_sample(chips.section("sample"));
}

}  // namespace kintsugi::configs

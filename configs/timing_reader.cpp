#include "configs/timing_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string>
#include <vector>

#include "common/text.h"
#include "configs/shipped_pe.h"

namespace kintsugi::configs {
namespace {

enum class Model { netlist, table, random };

// Keys of `timing` that are there for some of the models only.
struct ModelKey {
  const char* key;
  bool netlist, table, random;
};
constexpr std::array kModelKeys = {ModelKey{"netlist", true, false, false},
                                   ModelKey{"step_ps", true, false, false},
                                   ModelKey{"tmin_at_clock", true, false, false},
                                   ModelKey{"table", false, true, false},
                                   ModelKey{"rates", false, false, true},
                                   ModelKey{"guard_band", true, true, false},
                                   ModelKey{"fit", true, true, false},
                                   ModelKey{"mitigation", true, true, false},
                                   ModelKey{"scaling", true, true, false},
                                   ModelKey{"variation", true, true, false},
                                   ModelKey{"ageing_factor", true, true, false},
                                   ModelKey{"seed", false, true, true}};

bool is_for(const ModelKey& key, Model model) {
  switch (model) {
    case Model::netlist:
      return key.netlist;
    case Model::table:
      return key.table;
    case Model::random:
      return key.random;
  }
  return false;
}

void refuse_keys_of_other_models(Section& timing, Model model) {
  for (const ModelKey& key : kModelKeys) {
    if (is_for(key, model)) continue;
    std::vector<std::string> models;
    if (key.netlist) models.emplace_back("netlist");
    if (key.table) models.emplace_back("table");
    if (key.random) models.emplace_back("random");
    const std::vector<std::string> keys = timing.keys();
    if (std::ranges::find(keys, key.key) == keys.end()) continue;
    timing.has(key.key);  // so that it is not reported as unknown as well
    timing.error(key.key, fmt::format("'{}' says something to 'model: {}' only; remove it", key.key,
                                      common::join_or(models)));
  }
}

std::filesystem::path read_netlist_file(Section& timing) {
  const YAML::Node node = timing.raw("netlist");
  if (!node.IsDefined() || !node.IsScalar() || !is_shipped_pe_name(node.Scalar()))
    return timing.path("netlist");
  const std::string name = node.Scalar();
  std::filesystem::path file = find_shipped_pe(name);
  if (!file.empty()) return file;
  const std::vector<std::string> known = shipped_pe_names();
  const auto near = common::nearest(name, known);
  timing.error(
      "netlist",
      known.empty()
          ? fmt::format("the shipped timing file '{}' was not found; set KINTSUGI_PES to the folder of "
                        "the shipped ones, configs/pes, or write a path like pes/mine.pe",
                        name)
          : fmt::format("there is no shipped timing file '{}'{} there are {}; write one of these names, "
                        "or a path like pes/mine.pe",
                        name, near ? fmt::format("; did you mean '{}'?", *near) : ";", common::join(known)));
  return {};
}

FittedPe read_fit(Section& timing) {
  return timing.choice<FittedPe>(
      "fit", {{"slowest_pe", FittedPe::slowest}, {"typical_pe", FittedPe::typical}}, FittedPe::slowest);
}

NetlistTiming read_netlist(Section& timing) {
  NetlistTiming config;
  config.netlist = read_netlist_file(timing);
  config.step_ps = timing.real("step_ps", 5, 1000, config.step_ps);
  config.tmin_at_clock = timing.boolean("tmin_at_clock", config.tmin_at_clock);
  for (const char* key : {"guard_band", "fit"})
    if (!config.tmin_at_clock && timing.has(key))
      timing.error(key,
                   fmt::format("'{}' scales the netlist to the clock, but 'tmin_at_clock: false' takes its "
                               "delays as they are; remove one of the two",
                               key));
  config.guard_band = timing.real("guard_band", 0, 10, config.guard_band);
  config.fitted = read_fit(timing);
  return config;
}

TableTiming read_table(Section& timing) {
  TableTiming config;
  config.table = timing.path("table");
  config.guard_band = timing.real("guard_band", 0, 10, config.guard_band);
  config.fitted = read_fit(timing);
  return config;
}

RandomTiming read_random(Section& timing) {
  RandomTiming config;
  Section rates = timing.section("rates");
  config.activation_rate = rates.real("activations", 0, 1, 0.0);
  config.weight_rate = rates.real("weights", 0, 1, 0.0);
  config.psum_rate = rates.real("psums", 0, 1, 0.0);
  config.output_rate = rates.real("outputs", 0, 1, 0.0);
  return config;
}

VoltageScaling read_scaling(Section& timing) {
  VoltageScaling config;
  auto scaling = timing.optional_section("scaling");
  if (!scaling) return config;
  const auto optional = [&](const char* key, double low, double high) -> std::optional<double> {
    if (!scaling->has(key)) return std::nullopt;
    return scaling->real(key, low, high);
  };
  config.nominal_v = optional("nominal_v", 0.1, 10);
  config.nominal_c = optional("nominal_c", -200, 300);
  config.threshold_v = optional("threshold_v", 0.01, 10);
  config.alpha = scaling->real("alpha", 1, 2, config.alpha);
  if (config.nominal_v && config.threshold_v && *config.threshold_v >= *config.nominal_v)
    scaling->error("threshold_v", fmt::format("'threshold_v' must be below 'nominal_v', {}, but is {}; at a "
                                              "supply below the threshold nothing switches",
                                              common::format_number(*config.nominal_v),
                                              common::format_number(*config.threshold_v)));
  return config;
}

VariationConfig read_variation(Section& timing) {
  const YAML::Node node = timing.raw("variation");
  if (!node.IsDefined() || (node.IsScalar() && node.Scalar() == "none")) return std::monostate{};
  auto variation = timing.optional_section("variation");
  if (const auto map = variation->optional_path("delay_map")) {
    for (const std::string& key : variation->keys()) {
      if (key == "delay_map") continue;
      variation->has(key);
      variation->error(key,
                       fmt::format("'{}' is for sampled variation, but 'delay_map' gives measured delays; "
                                   "remove one of the two",
                                   key));
    }
    return MeasuredVariation{*map};
  }
  SampledVariation config;
  config.seed = static_cast<std::uint64_t>(variation->integer("seed", 0, INT64_MAX, 1));
  config.vth_sigma = variation->real("vth_sigma", 0, 0.5, config.vth_sigma);
  config.systematic_share = variation->real("systematic_share", 0, 1, config.systematic_share);
  config.correlation_range = variation->real("correlation_range", 0.001, 2, config.correlation_range);
  config.leff_sigma_ratio = variation->real("leff_sigma_ratio", 0, 2, config.leff_sigma_ratio);
  return config;
}

OperatingPointConfig read_operating_point(Section& timing, Model model) {
  OperatingPointConfig config;
  auto point = timing.optional_section("operating_point");
  if (!point) return config;
  if (point->has("frequency_mhz")) config.frequency_mhz = point->real("frequency_mhz", 0.001, 100000);
  if (point->has("voltage_v")) config.voltage_v = point->real("voltage_v", 0.01, 10);
  if (point->has("temperature_c")) config.temperature_c = point->real("temperature_c", -200, 300);
  for (const char* key : {"voltage_v", "temperature_c"})
    if (model == Model::random && point->has(key))
      point->error(key, fmt::format("random errors do not depend on '{}'; remove it", key));
  return config;
}

}  // namespace

std::optional<TimingConfig> read_timing(Section& chip, double nominal_clock_mhz) {
  auto timing = chip.optional_section("timing");
  if (!timing) return std::nullopt;
  TimingConfig config;
  config.nominal_clock_mhz = nominal_clock_mhz;
  const auto model = timing->choice<Model>(
      "model", {{"netlist", Model::netlist}, {"table", Model::table}, {"random", Model::random}});
  refuse_keys_of_other_models(*timing, model);
  config.operating_point = read_operating_point(*timing, model);
  if (model != Model::netlist)
    config.seed = static_cast<std::uint64_t>(timing->integer("seed", 0, INT64_MAX, 1));
  if (model == Model::random) {
    config.model = read_random(*timing);
    return config;
  }
  config.mitigation = timing->choice<TimingMitigation>(
      "mitigation", {{"none", TimingMitigation::none}, {"te_drop", TimingMitigation::te_drop}},
      TimingMitigation::none);
  config.scaling = read_scaling(*timing);
  config.variation = read_variation(*timing);
  config.ageing_factor = timing->real("ageing_factor", 1, 10, config.ageing_factor);
  if (model == Model::netlist) {
    config.model = read_netlist(*timing);
    return config;
  }
  config.model = read_table(*timing);
  const bool sampled = std::holds_alternative<SampledVariation>(config.variation);
  if (!config.scaling.nominal_v && (sampled || config.operating_point.voltage_v))
    timing->error(
        "the table does not say at which supply it was measured, and sampled variation and 'voltage_v' need "
        "to "
        "know; add 'scaling: {nominal_v: volts}'");
  return config;
}

}  // namespace kintsugi::configs

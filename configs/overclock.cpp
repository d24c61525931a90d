#include "configs/overclock.h"

#include <fmt/format.h>

#include <limits>
#include <string>

#include "common/text.h"

namespace kintsugi::configs {
namespace {

using common::format_number;

constexpr std::int64_t kAny = std::numeric_limits<std::int64_t>::max();

struct SweepKey {
  const char* name;
  SweepKind kind;
  double low, high;
  const char* example;
};
constexpr SweepKey kSweepKeys[] = {
    {"frequencies_mhz", SweepKind::frequency, 0.001, 1e6, "[700, 800, 900]"},
    {"voltages_v", SweepKind::voltage, 0.01, 100, "[1.8, 1.7, 1.6]"},
    {"bit_error_rates", SweepKind::bit_error_rate, 1e-15, 1, "[1e-6, 1e-5, 1e-4]"},
};

// One problem a list is enough: sorting it mends them all.
void check_order(Section& sweep, const SweepKey& key, const std::vector<double>& values) {
  if (values.empty() && sweep.raw(key.name).IsSequence())
    sweep.error(key.name, fmt::format("'{}' is empty; list the points from mild to harsh, like {}", key.name,
                                      key.example));
  const bool descends = key.kind == SweepKind::voltage;
  for (std::size_t i = 1; i < values.size(); ++i)
    if (descends ? values[i] >= values[i - 1] : values[i] <= values[i - 1])
      return sweep.error(
          key.name,
          fmt::format(
              "'{}' must {}, from mild to harsh, but {} comes after {}; sort the list and remove repeats",
              key.name, descends ? "descend" : "ascend", format_number(values[i]),
              format_number(values[i - 1])));
}

OperatingSweep read_sweep(Section sweep) {
  OperatingSweep config;
  int given = 0;
  for (const SweepKey& key : kSweepKeys) {
    if (!sweep.has(key.name)) continue;
    ++given;
    config.kind = key.kind;
    config.values = sweep.reals(key.name, key.low, key.high);
    check_order(sweep, key, config.values);
  }
  if (given != 1)
    sweep.error(
        "'sweep' needs exactly one of 'frequencies_mhz: [700, 800]', 'voltages_v: [1.8, 1.7]' and "
        "'bit_error_rates: [1e-6, 1e-5]'");
  if (sweep.has("bit_error_rates")) {
    config.target = sweep.choice<ErrorTarget>("target", {{"activations", ErrorTarget::activations},
                                                         {"weights", ErrorTarget::weights},
                                                         {"psums", ErrorTarget::psums},
                                                         {"outputs", ErrorTarget::outputs}});
  } else if (sweep.has("target")) {
    sweep.error("target", "'target' belongs to 'bit_error_rates' only; remove it");
  }
  return config;
}

void read_retrain(Section retrain, OverclockConfig& config) {
  config.retrain = read_sgd(retrain, config.retrain);
  config.retrain_steps = retrain.integer("steps", 1, 1'000'000'000, config.retrain_steps);
  config.freeze_batch_norm = retrain.choice<bool>("batch_norm", {{"frozen", true}, {"batch", false}}, true);
}

void read_evaluation(Section evaluation, OverclockConfig& config) {
  const auto images = [&](const char* name) -> std::optional<std::int64_t> {
    if (!evaluation.has(name)) return std::nullopt;
    return evaluation.integer(name, 1, kAny);
  };
  config.evaluation_decision_images = images("decision_images");
  config.evaluation_test_images = images("test_images");
  config.evaluation_batch = evaluation.integer("batch", 1, 65536, config.evaluation_batch);
}

void read_compare(Section compare, OverclockConfig& config) {
  for (const std::int64_t seed : compare.integers("chip_seeds", 0, kAny, std::vector<std::int64_t>()))
    config.other_chips.push_back(static_cast<std::uint64_t>(seed));
  config.neighbours = static_cast<int>(compare.integer("neighbours", 0, 100, config.neighbours));
}

HostConfig read_host(Section host) {
  HostConfig config;
  config.gmac_per_s = host.real("gmac_s", 1e-6, 1e9);
  config.link_gb_per_s = host.real("link_gb_s", 1e-6, 1e6);
  config.link_latency_us = host.real("link_latency_us", 0, 1e9, 0.0);
  return config;
}

}  // namespace

OverclockConfig read_overclock(const std::filesystem::path& file, const Overrides& overrides) {
  YamlFile yaml(file, "overclock", overrides);
  Section root = yaml.root();
  OverclockConfig config;
  config.file = file;
  config.chip = root.path("chip");
  config.network = root.path("network");
  Section dataset = root.section("dataset");
  config.dataset = read_dataset(dataset, true);
  config.decision_images = dataset.integer("decision_images", 1, kAny, config.decision_images);
  if (dataset.has("split_seed"))
    config.split_seed = static_cast<std::uint64_t>(dataset.integer("split_seed", 0, kAny));
  if (auto pretrain = root.optional_section("pretrain")) config.pretrain = read_pretrain(*pretrain);
  if (auto retrain = root.optional_section("retrain")) read_retrain(*retrain, config);
  if (auto section = root.optional_section("quantization")) config.quantization = read_quantization(*section);
  config.sweep = read_sweep(root.section("sweep"));
  if (auto evaluation = root.optional_section("evaluation")) read_evaluation(*evaluation, config);
  if (auto tipping = root.optional_section("tipping"))
    config.tipping_drop = tipping->real("accuracy_drop", 0, 1);
  if (auto acceptable = root.optional_section("acceptable"))
    config.acceptable_drop = acceptable->real("accuracy_drop", 0, 1);
  if (auto baselines = root.optional_section("baselines")) {
    config.noise = baselines->real("noise", 0, 100, config.noise);
    config.dropout = baselines->real("dropout", 0, 0.99, config.dropout);
  }
  if (auto compare = root.optional_section("compare")) read_compare(*compare, config);
  if (auto host = root.optional_section("host")) config.host = read_host(*host);
  if (auto executor = root.optional_section("executor")) config.executor = read_executor(*executor);
  yaml.finish();
  return config;
}

}  // namespace kintsugi::configs

// What an overclocking campaign's manifest lists.
#include <fmt/format.h>

#include <variant>

#include "common/sha256.h"
#include "common/text.h"
#include "sim/overclock_inputs.h"

namespace kintsugi::sim {
namespace {

using common::format_number;

void add_file(std::vector<ManifestEntry>& entries, const std::string& key,
              const std::optional<std::filesystem::path>& file) {
  if (file) entries.push_back({key, common::sha256_file(*file)});
}

// The chip file as a whole, since cycles and errors depend on all of it, and the files that it names.
void add_chip_files(std::vector<ManifestEntry>& entries, const OverclockInputs& inputs) {
  const configs::ChipConfig& chip = inputs.chip;
  add_file(entries, "chip.file", chip.file);
  if (!inputs.chip_settings.empty()) entries.push_back({"chip.set", inputs.chip_settings});
  add_file(entries, "chip.fault_map", chip.fault_map);
  add_file(entries, "chip.bypass_map", chip.bypass_map);
  if (!chip.timing) return;
  if (const auto* netlist = std::get_if<configs::NetlistTiming>(&chip.timing->model))
    add_file(entries, "chip.timing.netlist", netlist->netlist);
  if (const auto* table = std::get_if<configs::TableTiming>(&chip.timing->model))
    add_file(entries, "chip.timing.table", table->table);
  if (const auto* measured = std::get_if<configs::MeasuredVariation>(&chip.timing->variation))
    add_file(entries, "chip.timing.delay_map", measured->delay_map);
}

std::string sweep_text(const configs::OperatingSweep& sweep) {
  static constexpr const char* kTargets[] = {"activations", "weights", "psums", "outputs"};
  switch (sweep.kind) {
    case configs::SweepKind::frequency:
      return "frequencies_mhz " + number_list(sweep.values);
    case configs::SweepKind::voltage:
      return "voltages_v " + number_list(sweep.values);
    case configs::SweepKind::bit_error_rate:
      return fmt::format("bit_error_rates {} of {}", number_list(sweep.values),
                         kTargets[static_cast<int>(sweep.target)]);
  }
  return "";
}

std::string host_text(const std::optional<configs::HostConfig>& host) {
  if (!host) return "none";
  return fmt::format("{} GMAC/s, {} GB/s, {} us", format_number(host->gmac_per_s),
                     format_number(host->link_gb_per_s), format_number(host->link_latency_us));
}

}  // namespace

std::vector<ManifestEntry> manifest_of(const OverclockInputs& inputs) {
  const configs::OverclockConfig& config = inputs.config;
  std::vector<ManifestEntry> entries = manifest_start(inputs.seed);
  add_chip(entries, inputs.chip);
  add_chip_files(entries, inputs);
  add_network(entries, inputs.network_config);
  entries.push_back({"dataset.training", digest(inputs.training)});
  entries.push_back({"dataset.held_out", digest(inputs.held_out)});
  entries.push_back({"dataset.decision", digest(inputs.decision)});
  entries.push_back({"dataset.test", digest(inputs.test)});
  add_pretrain(entries, config.pretrain);
  add_sgd(entries, "retrain", config.retrain);
  entries.push_back({"retrain.steps", fmt::format("{}", config.retrain_steps)});
  entries.push_back({"retrain.batch_norm", config.freeze_batch_norm ? "frozen" : "batch"});
  add_quantization(entries, config.quantization);
  std::string seeds;
  for (const std::uint64_t seed : config.other_chips)
    seeds += fmt::format("{}{}", seeds.empty() ? "" : " ", seed);
  const std::vector<ManifestEntry> rest{
      {"sweep", sweep_text(config.sweep)},
      {"evaluation.batch", fmt::format("{}", config.evaluation_batch)},
      {"tipping.accuracy_drop", format_number(config.tipping_drop)},
      {"acceptable.accuracy_drop", format_number(config.acceptable_drop)},
      {"baselines.noise", format_number(config.noise)},
      {"baselines.dropout", format_number(config.dropout)},
      {"compare.chip_seeds", seeds},
      {"compare.neighbours", fmt::format("{}", config.neighbours)},
      {"host", host_text(config.host)},
  };
  entries.insert(entries.end(), rest.begin(), rest.end());
  return entries;
}

}  // namespace kintsugi::sim

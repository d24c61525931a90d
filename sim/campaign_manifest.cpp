#include "sim/campaign_manifest.h"

#include <fmt/format.h>

#include <algorithm>
#include <oneapi/dnnl/dnnl.hpp>
#include <string_view>

#include "common/files.h"
#include "common/sha256.h"
#include "common/text.h"
#include "faults/fault_map_io.h"
#include "training/reduce/constraint.h"
#include "training/reduce/plan_file.h"

namespace kintsugi::sim {
namespace {

using common::format_number;

std::string instruction_set() {
  const auto isa = dnnl::get_effective_cpu_isa();
  using enum dnnl::cpu_isa;
  switch (isa) {
    case sse41:
      return "sse41";
    case avx:
      return "avx";
    case avx2:
      return "avx2";
    case avx512_core:
      return "avx512_core";
    case avx512_core_vnni:
      return "avx512_core_vnni";
    case avx512_core_bf16:
      return "avx512_core_bf16";
    case avx512_core_amx:
      return "avx512_core_amx";
    case avx2_vnni:
      return "avx2_vnni";
    default:
      return fmt::format("isa {:#x}", static_cast<unsigned>(isa));
  }
}

template <class T>
std::string list(const std::vector<T>& values) {
  std::vector<std::string> parts;
  for (const T value : values) parts.push_back(format_number(static_cast<double>(value)));
  return common::join(parts, " ");
}

std::string digest(const workloads::ImageSet& images) {
  std::string text = fmt::format("{} {} {} {}\n", images.size(), images.shape.channels, images.shape.height,
                                 images.shape.width);
  text.append(reinterpret_cast<const char*>(images.pixels.data()), images.pixels.size());
  text.append(reinterpret_cast<const char*>(images.labels.data()),
              images.labels.size() * sizeof(std::int32_t));
  return common::sha256(text);
}

std::string digest(const configs::NetworkConfig& network) {
  std::string text =
      fmt::format("{} {} {} {} {}; {}; {}\n", network.name, network.input.channels, network.input.height,
                  network.input.width, format_number(network.input.scale), list(network.input.mean),
                  list(network.input.std));
  for (const configs::LayerConfig& layer : network.layers)
    text += fmt::format("{} {} {} {} {} {} {} {} {} {} {}\n", static_cast<int>(layer.kind), layer.name,
                        layer.out, layer.kernel, layer.stride, layer.padding, layer.groups, layer.bias,
                        format_number(layer.eps), format_number(layer.momentum), format_number(layer.p));
  return common::sha256(text);
}

std::string digest(const std::vector<faults::FaultMap>& chips) {
  std::string text;
  for (const faults::FaultMap& map : chips) text += common::sha256(faults::fault_map_yaml(map)) + "\n";
  return common::sha256(text);
}

void add_sgd(std::vector<ManifestEntry>& entries, const std::string& prefix, const configs::SgdConfig& sgd) {
  entries.push_back({prefix + ".batch", fmt::format("{}", sgd.batch)});
  entries.push_back({prefix + ".learning_rate", format_number(sgd.learning_rate)});
  entries.push_back({prefix + ".momentum", format_number(sgd.momentum)});
  entries.push_back({prefix + ".weight_decay", format_number(sgd.weight_decay)});
  entries.push_back({prefix + ".augment", sgd.augment ? "true" : "false"});
  if (sgd.backward == configs::Backward::bf16) entries.push_back({prefix + ".backward", "bf16"});
  static constexpr const char* kKinds[] = {"constant", "step", "cosine"};
  std::string schedule = kKinds[static_cast<int>(sgd.schedule.kind)];
  if (sgd.schedule.kind == configs::ScheduleKind::step)
    schedule +=
        fmt::format(" at {} times {}", list(sgd.schedule.milestones), format_number(sgd.schedule.gamma));
  entries.push_back({prefix + ".schedule", schedule});
}

std::string chips_source(const configs::ChipsConfig& chips) {
  if (std::holds_alternative<configs::SampleChips>(chips)) return "sampled";
  return std::holds_alternative<configs::LotFile>(chips) ? "lot file" : "fault maps";
}

}  // namespace

std::vector<ManifestEntry> manifest_of(const CampaignInputs& inputs) {
  const configs::CampaignConfig& config = inputs.config;
  const configs::ArrayConfig& array = inputs.chip.array;
  const auto* version = dnnl::version();
  std::vector<ManifestEntry> entries{
      {"version", "1"},
      {"kintsugi", KINTSUGI_VERSION},
      {"onednn", fmt::format("{}.{}.{}", version->major, version->minor, version->patch)},
      {"instruction_set", instruction_set()},
      {"seed", fmt::format("{}", inputs.seed)},
      {"chip.name", inputs.chip.name},
      {"chip.array.rows", fmt::format("{}", array.rows)},
      {"chip.array.cols", fmt::format("{}", array.cols)},
      {"chip.array.operand_bits", fmt::format("{}", array.operand_bits)},
      {"chip.array.accumulator_bits", fmt::format("{}", array.accumulator_bits)},
      {"chip.mapping.convolution",
       inputs.chip.convolution == configs::ConvolutionMapping::im2col ? "im2col" : "channel"},
      {"network.name", inputs.network.name},
      {"network.sha256", digest(inputs.network_config)},
      {"dataset.training", digest(inputs.training)},
      {"dataset.decision", digest(inputs.held_out)},
      {"dataset.test", digest(inputs.test)},
      {"leak_as_published", config.leak_as_published ? "true" : "false"},
  };
  if (config.pretrain.weights) {
    entries.push_back({"pretrain.weights", common::sha256_file(*config.pretrain.weights)});
  } else {
    entries.push_back({"pretrain.epochs", format_number(config.pretrain.epochs)});
    add_sgd(entries, "pretrain", config.pretrain.sgd);
  }
  add_sgd(entries, "retrain", config.retrain);
  const bool percentile = config.quantization.method == configs::ScaleMethod::percentile;
  static constexpr const char* kPolicies[] = {"max", "mean", "fixed"};
  const std::vector<ManifestEntry> rest{
      {"retrain.forward", config.forward == configs::Forward::chip ? "chip" : "masked_float"},
      {"quantization.method",
       percentile ? "percentile " + format_number(config.quantization.percentile) : std::string("minmax")},
      {"quantization.images", fmt::format("{}", config.quantization.images)},
      {"constraint", training::reduce::Constraint(config.constraint).describe()},
      {"characterize.fault_rates", list(config.characterize.fault_rates)},
      {"characterize.repeats", fmt::format("{}", config.characterize.repeats)},
      {"characterize.max_steps", fmt::format("{}", config.characterize.max_steps)},
      {"characterize.evaluate_every_steps", fmt::format("{}", config.characterize.evaluate_every_steps)},
      {"characterize.amount",
       config.characterize.amount == configs::Amount::sustained ? "sustained" : "first_crossing"},
      {"chips.source", chips_source(config.chips)},
      {"chips.count", fmt::format("{}", inputs.chips.size())},
      {"chips.sha256", digest(inputs.chips)},
      {"policy.name", kPolicies[static_cast<int>(config.policy.name)]},
      {"policy.steps", fmt::format("{}", config.policy.steps)},
      {"compare.fixed_steps", list(config.compare_fixed_steps)},
  };
  entries.insert(entries.end(), rest.begin(), rest.end());
  return entries;
}

std::string manifest_yaml(const std::vector<ManifestEntry>& entries) {
  std::string text =
      "# What this campaign was made from; kintsugi reduce refuses to go on in this folder with anything "
      "else.\n"
      "manifest:\n";
  for (const ManifestEntry& entry : entries)
    text += fmt::format("  {}: {}\n", entry.key, common::yaml_scalar(entry.value));
  return text;
}

void write_or_check_manifest(const std::filesystem::path& file, const std::vector<ManifestEntry>& entries) {
  const std::string wanted = manifest_yaml(entries);
  if (!std::filesystem::exists(file)) return common::write_file_atomic(file, wanted);
  const std::string found = common::read_file(file);
  if (found == wanted) return;

  // Both texts are ours, one "  key: value" a line.
  const auto lines = [](const std::string& text) {
    std::map<std::string, std::string> values;
    std::size_t begin = 0;
    while (begin < text.size()) {
      const std::size_t end = std::min(text.find('\n', begin), text.size());
      const std::string line = text.substr(begin, end - begin);
      const std::size_t colon = line.find(": ");
      if (line.starts_with("  ") && colon != std::string::npos)
        values[line.substr(2, colon - 2)] = line.substr(colon + 2);
      begin = end + 1;
    }
    return values;
  };
  const auto old_values = lines(found);
  const auto new_values = lines(wanted);
  std::string message = "this folder holds a campaign made from other inputs:";
  int differences = 0;
  const auto value = [](const std::map<std::string, std::string>& values, const std::string& key) {
    const auto entry = values.find(key);
    return entry == values.end() ? std::string("(absent)") : entry->second;
  };
  std::map<std::string, std::string> keys = old_values;
  keys.insert(new_values.begin(), new_values.end());
  for (const auto& [key, unused] : keys) {
    if (value(old_values, key) == value(new_values, key)) continue;
    ++differences;
    message +=
        fmt::format("\n  {}: {} in the folder, {} now", key, value(old_values, key), value(new_values, key));
  }
  if (differences == 0) message += "\n  its manifest was edited or damaged";
  message += "\nrestore the inputs to go on with this campaign, or choose another --out for a new one";
  throw common::InputError({file.string()}, message);
}

}  // namespace kintsugi::sim

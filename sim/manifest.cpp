#include "sim/manifest.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <oneapi/dnnl/dnnl.hpp>
#include <string_view>

#include "common/diagnostics.h"
#include "common/files.h"
#include "common/sha256.h"
#include "common/text.h"

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

// What only networks that are no chain have.
std::string digest_of_graph(const configs::LayerConfig& layer) {
  std::string text;
  if (!layer.inputs.empty()) text += "reads " + common::join(layer.inputs, " ") + "\n";
  if (layer.ceil_mode) text += "ceil\n";
  if (layer.kind == configs::LayerKind::local_response_norm)
    text += fmt::format("{} {} {} {}\n", layer.size, format_number(layer.alpha), format_number(layer.beta),
                        format_number(layer.k));
  return text;
}

std::string digest(const configs::NetworkConfig& network) {
  std::string text =
      fmt::format("{} {} {} {} {}; {}; {}\n", network.name, network.input.channels, network.input.height,
                  network.input.width, format_number(network.input.scale), number_list(network.input.mean),
                  number_list(network.input.std));
  for (const configs::LayerConfig& layer : network.layers)
    text += fmt::format("{} {} {} {} {} {} {} {} {} {} {}\n", static_cast<int>(layer.kind), layer.name,
                        layer.out, layer.kernel, layer.stride, layer.padding, layer.groups, layer.bias,
                        format_number(layer.eps), format_number(layer.momentum), format_number(layer.p)) +
            digest_of_graph(layer);
  return common::sha256(text);
}

}  // namespace

std::string number_list(const std::vector<double>& values) {
  std::vector<std::string> parts;
  for (const double value : values) parts.push_back(format_number(value));
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

void add_sgd(std::vector<ManifestEntry>& entries, const std::string& prefix, const configs::SgdConfig& sgd) {
  entries.push_back({prefix + ".batch", fmt::format("{}", sgd.batch)});
  entries.push_back({prefix + ".learning_rate", format_number(sgd.learning_rate)});
  entries.push_back({prefix + ".momentum", format_number(sgd.momentum)});
  entries.push_back({prefix + ".weight_decay", format_number(sgd.weight_decay)});
  entries.push_back({prefix + ".augment", sgd.augment ? "true" : "false"});
  if (sgd.backward == configs::Backward::bf16) entries.push_back({prefix + ".backward", "bf16"});
  static constexpr const char* kKinds[] = {"constant", "step", "cosine", "linear"};
  std::string schedule = kKinds[static_cast<int>(sgd.schedule.kind)];
  if (sgd.schedule.kind == configs::ScheduleKind::step)
    schedule += fmt::format(" at {} times {}", number_list(sgd.schedule.milestones),
                            format_number(sgd.schedule.gamma));
  entries.push_back({prefix + ".schedule", schedule});
}

std::vector<ManifestEntry> manifest_start(std::uint64_t seed) {
  const auto* version = dnnl::version();
  return {{"version", "1"},
          {"kintsugi", KINTSUGI_VERSION},
          {"onednn", fmt::format("{}.{}.{}", version->major, version->minor, version->patch)},
          {"instruction_set", instruction_set()},
          {"seed", fmt::format("{}", seed)}};
}

void add_chip(std::vector<ManifestEntry>& entries, const configs::ChipConfig& chip) {
  const configs::ArrayConfig& array = chip.array;
  entries.push_back({"chip.name", chip.name});
  entries.push_back({"chip.array.rows", fmt::format("{}", array.rows)});
  entries.push_back({"chip.array.cols", fmt::format("{}", array.cols)});
  entries.push_back({"chip.array.operand_bits", fmt::format("{}", array.operand_bits)});
  entries.push_back({"chip.array.accumulator_bits", fmt::format("{}", array.accumulator_bits)});
  entries.push_back({"chip.mapping.convolution",
                     chip.convolution == configs::ConvolutionMapping::im2col ? "im2col" : "channel"});
}

void add_network(std::vector<ManifestEntry>& entries, const configs::NetworkConfig& network) {
  entries.push_back({"network.name", network.name});
  entries.push_back({"network.sha256", digest(network)});
}

void add_pretrain(std::vector<ManifestEntry>& entries, const configs::PretrainConfig& pretrain) {
  if (pretrain.weights) {
    entries.push_back({"pretrain.weights", common::sha256_file(*pretrain.weights)});
    return;
  }
  entries.push_back({"pretrain.epochs", format_number(pretrain.epochs)});
  add_sgd(entries, "pretrain", pretrain.sgd);
}

void add_quantization(std::vector<ManifestEntry>& entries, const configs::QuantizationConfig& quantization) {
  const bool percentile = quantization.method == configs::ScaleMethod::percentile;
  entries.push_back({"quantization.method", percentile
                                                ? "percentile " + format_number(quantization.percentile)
                                                : std::string("minmax")});
  entries.push_back({"quantization.images", fmt::format("{}", quantization.images)});
}

std::string manifest_yaml(const std::vector<ManifestEntry>& entries) {
  std::string text =
      "# What this campaign was made from; kintsugi refuses to go on in this folder with anything "
      "else.\n"
      "manifest:\n";
  for (const ManifestEntry& entry : entries)
    text += fmt::format("  {}: {}\n", entry.key, common::yaml_scalar(entry.value));
  return text;
}

void write_or_check_manifest(const std::filesystem::path& file, const std::vector<ManifestEntry>& entries) {
  if (!std::filesystem::exists(file)) return common::write_file_atomic(file, manifest_yaml(entries));
  check_manifest(file, entries);
}

void check_manifest(const std::filesystem::path& file, const std::vector<ManifestEntry>& entries) {
  const std::string wanted = manifest_yaml(entries);
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

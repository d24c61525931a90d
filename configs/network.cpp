#include "configs/network.h"

#include <fmt/format.h>

#include <map>

namespace kintsugi::configs {
namespace {

constexpr std::int64_t kWidest = 1 << 20;  // features or channels
constexpr std::int64_t kLargestKernel = 1024;

InputConfig read_input(Section input) {
  InputConfig config;
  config.where = input.where();
  config.channels = static_cast<int>(input.integer("channels", 1, 4096));
  config.height = static_cast<int>(input.integer("height", 1, 65536));
  config.width = static_cast<int>(input.integer("width", 1, 65536));
  config.scale = input.real("scale", 1e-12, 1e12, config.scale);
  const auto channels = static_cast<std::size_t>(config.channels);
  config.mean = input.reals("mean", -1e12, 1e12, std::vector<double>(channels, 0.0));
  config.std = input.reals("std", 1e-12, 1e12, std::vector<double>(channels, 1.0));
  for (const char* name : {"mean", "std"}) {
    const YAML::Node list = input.raw(name);
    if (!list.IsDefined() || !list.IsSequence() || list.size() == channels) continue;
    input.error(name, fmt::format("'{}' has {} {}, but the input has {} {}; give one for each channel", name,
                                  list.size(), list.size() == 1 ? "entry" : "entries", channels,
                                  channels == 1 ? "channel" : "channels"));
  }
  return config;
}

int small(std::int64_t value) {
  return static_cast<int>(value);
}

// `input: a`: one name.
void read_input_name(Section& layer, LayerConfig& config) {
  if (layer.has("input")) config.inputs = {layer.text("input")};
}

// `inputs: [a, b]`.
void read_input_names(Section& layer, LayerConfig& config) {
  const YAML::Node list = layer.raw("inputs");
  if (list.IsDefined() && list.IsSequence() && list.size() == 2 && list[0].IsScalar() && list[1].IsScalar()) {
    config.inputs = {list[0].Scalar(), list[1].Scalar()};
    return;
  }
  layer.error("inputs", "an add needs 'inputs: [a, b]', the names of the two layers whose results it adds");
}

Unit read_unit(Section& layer) {
  return layer.choice<Unit>("unit", {{"host", Unit::host}, {"activation_unit", Unit::activation_unit}},
                            Unit::host);
}

void read_local_response_norm(Section& layer, LayerConfig& config) {
  config.name = layer.text("name");
  read_input_name(layer, config);
  config.size = static_cast<int>(layer.integer("size", 1, 4096, config.size));
  config.alpha = layer.real("alpha", 0, 1e6, config.alpha);
  config.beta = layer.real("beta", 0, 100, config.beta);
  config.k = layer.real("k", 1e-6, 1e6, config.k);
  config.unit = read_unit(layer);
}

LayerConfig read_layer(Section layer) {
  using enum LayerKind;
  LayerConfig config;
  config.where = layer.where();
  // The keys that a layer may have depend on its type, so without one there is nothing to check them against.
  const bool has_type = layer.has("type");
  const int kind = layer.choice<int>("type",
                                     {{"linear", static_cast<int>(linear)},
                                      {"conv2d", static_cast<int>(conv2d)},
                                      {"batch_norm", static_cast<int>(batch_norm)},
                                      {"relu", static_cast<int>(relu)},
                                      {"max_pool", static_cast<int>(max_pool)},
                                      {"global_avg_pool", static_cast<int>(global_avg_pool)},
                                      {"flatten", static_cast<int>(flatten)},
                                      {"dropout", static_cast<int>(dropout)},
                                      {"add", static_cast<int>(add)},
                                      {"local_response_norm", static_cast<int>(local_response_norm)}},
                                     has_type ? std::optional(-1) : std::nullopt);
  if (!has_type || kind < 0) {
    for (const std::string& key : layer.keys()) layer.has(key);
    return config;
  }
  config.kind = static_cast<LayerKind>(kind);
  switch (config.kind) {
    case linear:
      config.name = layer.text("name");
      read_input_name(layer, config);
      config.out = small(layer.integer("out_features", 1, kWidest));
      config.bias = layer.boolean("bias", config.bias);
      break;
    case conv2d:
      config.name = layer.text("name");
      read_input_name(layer, config);
      config.out = small(layer.integer("out_channels", 1, kWidest));
      config.kernel = small(layer.integer("kernel", 1, kLargestKernel));
      config.stride = small(layer.integer("stride", 1, kLargestKernel, config.stride));
      config.padding = small(layer.integer("padding", 0, kLargestKernel, config.padding));
      config.groups = small(layer.integer("groups", 1, kWidest, config.groups));
      config.bias = layer.boolean("bias", config.bias);
      if (config.groups > 1 && config.out % config.groups != 0)
        layer.error("groups",
                    fmt::format("{} output channels cannot be cut into {} groups; 'groups' must divide "
                                "'out_channels'",
                                config.out, config.groups));
      break;
    case batch_norm:
      config.name = layer.text("name");
      config.eps = layer.real("eps", 1e-12, 1, config.eps);
      config.momentum = layer.real("momentum", 0, 1, config.momentum);
      break;
    case max_pool:
      config.kernel = small(layer.integer("kernel", 1, kLargestKernel));
      config.stride = small(layer.integer("stride", 1, kLargestKernel, config.kernel));
      config.padding = small(layer.integer("padding", 0, kLargestKernel, config.padding));
      config.ceil_mode = layer.boolean("ceil_mode", config.ceil_mode);
      config.name = layer.text("name", "");
      break;
    case dropout:
      config.p = layer.real("p", 0, 0.999, config.p);
      config.name = layer.text("name", "");
      break;
    case relu:
    case global_avg_pool:
    case flatten:
      config.name = layer.text("name", "");
      break;
    case add:
      config.name = layer.text("name");
      read_input_names(layer, config);
      config.unit = read_unit(layer);
      break;
    case local_response_norm:
      read_local_response_norm(layer, config);
      break;
  }
  return config;
}

}  // namespace

NetworkConfig read_network(const std::filesystem::path& file, const Overrides& overrides) {
  YamlFile yaml(file, "network", overrides);
  Section network = yaml.root();
  NetworkConfig config;
  config.file = file;
  config.name = network.text("name", file.stem().string());
  config.input = read_input(network.section("input"));
  const std::size_t before = yaml.diagnostics().size();
  std::map<std::string, common::Location> names;
  for (Section& layer : network.sections("layers")) {
    config.layers.push_back(read_layer(layer));
    const std::string& name = config.layers.back().name;
    if (name.empty()) continue;
    const auto [earlier, fresh] = names.emplace(name, layer.where());
    if (!fresh)
      layer.error("name",
                  fmt::format("the name '{}' is already used by the layer at {}; weights are found by name, "
                              "so give each layer its own",
                              name, common::to_string(earlier->second)));
  }
  if (config.layers.empty() && yaml.diagnostics().size() == before)
    network.error("layers", "'layers' is empty; list at least one linear or conv2d layer");
  network.choice<int>("loss", {{"softmax_cross_entropy", 0}}, 0);
  yaml.finish();
  return config;
}

}  // namespace kintsugi::configs

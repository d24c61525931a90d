#include "sim/network_report.h"

#include <fmt/format.h>

#include "array/layer_plan.h"
#include "common/csv.h"
#include "common/text.h"
#include "sim/text_table.h"

namespace kintsugi::sim {
namespace {

using workloads::FeatureShape;
using workloads::Stage;
using workloads::StageKind;

constexpr std::size_t kLongestName = 24;

std::string type_of(const Stage& stage) {
  if (stage.kind == StageKind::add) return "add";
  if (stage.kind == StageKind::local_response_norm) return "local_response_norm";
  return stage.convolution ? "conv2d" : "linear";
}

std::string text(const FeatureShape& shape) {
  return fmt::format("{}x{}x{}", shape.channels, shape.height, shape.width);
}

// Names are ASCII in practice; a longer one loses its middle.
std::string shortened(const std::string& name) {
  if (name.size() <= kLongestName) return name;
  return name.substr(0, kLongestName / 2 - 1) + ".." + name.substr(name.size() - kLongestName / 2 + 1);
}

std::string gemm_text(const NetworkLayer& layer) {
  if (layer.groups == 0) return layer.on_activation_unit ? "unit" : "host";
  const std::string size = fmt::format("{}x{}x{}", layer.m, layer.k, layer.n);
  return layer.groups == 1 ? size : fmt::format("{} x{}", size, layer.groups);
}

NetworkLayer totals(const std::vector<NetworkLayer>& layers) {
  NetworkLayer total;
  for (const NetworkLayer& layer : layers) {
    total.parameters += layer.parameters;
    total.macs += layer.macs;
    total.neurons += layer.neurons;
    total.tiles += layer.tiles;
  }
  return total;
}

}  // namespace

std::vector<NetworkLayer> network_layers(const workloads::Network& network, const configs::ChipConfig& chip) {
  std::vector<NetworkLayer> layers;
  for (std::size_t s = 0; s < network.stages.size(); ++s) {
    const Stage& stage = network.stages[s];
    NetworkLayer layer;
    layer.name = stage.name;
    layer.type = type_of(stage);
    layer.in = stage.in;
    layer.out = stage.gemm_out;
    layer.pooled = stage.out;
    layer.parameters = stage.parameter_count();
    layer.macs = stage.macs();
    layer.neurons = network.neurons(s);
    layer.on_activation_unit = stage.on_activation_unit();
    if (stage.on_chip()) {
      const array::LayerShape shape = stage.layer_shape(1);
      layer.m = shape.m();
      layer.k = shape.k();
      layer.n = shape.n();
      layer.groups = shape.groups;
      layer.tiles = shape.groups * array::make_tiling(shape, chip.array.rows, chip.array.cols,
                                                      chip.convolution, array::accumulator_depth(chip))
                                       .tiles();
    }
    layers.push_back(std::move(layer));
  }
  return layers;
}

std::string network_table(const workloads::Network& network, const configs::ChipConfig& chip, bool colours) {
  const std::vector<NetworkLayer> layers = network_layers(network, chip);
  std::string out = fmt::format("network {}, input {}; chip {}, {}x{}\n\n", network.name,
                                text(network.input_shape()), chip.name, chip.array.rows, chip.array.cols);
  TextTable table;
  table.column("layer", Align::left);
  for (const char* header : {"output", "parameters", "MACs", "neurons", "GEMM MxKxN", "tiles"})
    table.column(header);
  const auto number = [](std::int64_t value) {
    return TableCell{value == 0 ? "" : fmt::format("{}", value)};
  };
  for (const NetworkLayer& layer : layers)
    table.row({{shortened(layer.name)},
               {text(layer.pooled)},
               number(layer.parameters),
               number(layer.macs),
               number(layer.neurons),
               {gemm_text(layer)},
               number(layer.tiles)});
  const NetworkLayer total = totals(layers);
  table.row({{"total"},
             {""},
             number(total.parameters),
             number(total.macs),
             number(total.neurons),
             {""},
             number(total.tiles)});
  out += table.render(colours);
  out +=
      "\nFor one image. Output: behind any pooling. GEMM: of each group; 'host', 'unit': add or"
      "\nnormalisation there, or on the chip's activation unit."
      "\nNeurons: values behind a ReLU, before pooling, and the network's outputs.\n";
  return out;
}

std::string network_csv(const workloads::Network& network, const configs::ChipConfig& chip) {
  std::string csv =
      "layer,type,in_channels,in_height,in_width,out_channels,out_height,out_width,pooled_height,pooled_"
      "width,"
      "parameters,macs,neurons,m,k,n,groups,tiles\n";
  for (const NetworkLayer& l : network_layers(network, chip))
    csv += fmt::format("{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{}\n", common::csv_cell(l.name),
                       l.type, l.in.channels, l.in.height, l.in.width, l.out.channels, l.out.height,
                       l.out.width, l.pooled.height, l.pooled.width, l.parameters, l.macs, l.neurons, l.m,
                       l.k, l.n, l.groups, l.tiles);
  return csv;
}

std::string network_summary(const workloads::Network& network, const configs::ChipConfig& chip) {
  const NetworkLayer total = totals(network_layers(network, chip));
  return fmt::format(
      "network:\n  version: 1\n  name: {}\n  input: {{channels: {}, height: {}, width: {}}}\n"
      "  chip: {{name: {}, rows: {}, cols: {}}}\n  layers: {}\n  parameters: {}\n  macs: {}\n"
      "  neurons: {}\n  tiles: {}\n",
      common::yaml_scalar(network.name), network.input.channels, network.input.height, network.input.width,
      common::yaml_scalar(chip.name), chip.array.rows, chip.array.cols, network.stages.size(),
      total.parameters, total.macs, total.neurons, total.tiles);
}

}  // namespace kintsugi::sim

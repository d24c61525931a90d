// A network description (configs/networks/*.yaml): an ordered list of layers, each reading the one before it
// unless it names what it reads.
//
// This is the file as written; workloads/network.h checks shapes and gives the layers sizes.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "configs/yaml_reader.h"

namespace kintsugi::configs {

enum class LayerKind {
  linear,
  conv2d,
  batch_norm,
  relu,
  max_pool,
  global_avg_pool,
  flatten,
  dropout,
  add,
  local_response_norm
};

// Who computes a layer that needs no array: the host, or the chip's activation unit. The bits are the same.
enum class Unit { host, activation_unit };

struct LayerConfig {
  LayerKind kind = LayerKind::relu;
  // PyTorch state_dict prefix ("fc1", "features.0"); required for linear, conv2d and batch_norm, and for add
  // and local_response_norm (reports); elsewhere only for layers that others name as their input.
  std::string name;
  // What the layer reads, by name; empty: the layer before it. One entry (linear, conv2d,
  // local_response_norm) or two (add, required).
  std::vector<std::string> inputs;
  int out = 0;        // linear: out_features; conv2d: out_channels
  int kernel = 0;     // conv2d, max_pool: square kernel
  int stride = 1;     // conv2d (default 1), max_pool (default: kernel)
  int padding = 0;    // conv2d, max_pool
  int groups = 1;     // conv2d
  bool bias = true;   // linear, conv2d
  double eps = 1e-5;  // batch_norm
  double momentum = 0.1;
  double p = 0.5;          // dropout
  bool ceil_mode = false;  // max_pool: sizes are rounded up
  int size = 5;            // local_response_norm: channels summed over
  double alpha = 1e-4, beta = 0.75, k = 1;
  Unit unit = Unit::host;  // add, local_response_norm
  common::Location where;
};

// Pixels become numbers as (pixel · scale − mean[c]) / std[c].
struct InputConfig {
  int channels = 0;
  int height = 0;
  int width = 0;
  double scale = 1.0 / 255;
  std::vector<double> mean;  // one per channel; default 0
  std::vector<double> std;   // one per channel; default 1
  common::Location where;
};

// File form:
//   network:
//     name: lenet5
//     input: {channels: 1, height: 28, width: 28, scale: 0.00392157, mean: [0.286], std: [0.353]}
//     layers:
//       - {type: conv2d, name: conv1, out_channels: 6, kernel: 5, padding: 2}
//       - {type: relu}
//       - {type: max_pool, kernel: 2}
//       - {type: flatten}
//       - {type: linear, name: fc1, out_features: 10}
//     loss: softmax_cross_entropy
// A residual block: name what is read where it is not the layer before.
//       - {type: relu, name: a}
//       - {type: conv2d, name: conv2, out_channels: 6, kernel: 3, padding: 1}
//       - {type: add, name: sum, inputs: [conv2, a], unit: activation_unit}
struct NetworkConfig {
  std::filesystem::path file;
  std::string name;
  InputConfig input;
  std::vector<LayerConfig> layers;
};

NetworkConfig read_network(const std::filesystem::path& file, const Overrides& overrides = {});

}  // namespace kintsugi::configs

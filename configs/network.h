// A network description (configs/networks/*.yaml): an ordered list of layers.
//
// This is the file as written; workloads/network.h checks shapes and gives the layers sizes.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "configs/yaml_reader.h"

namespace kintsugi::configs {

enum class LayerKind { linear, conv2d, batch_norm, relu, max_pool, global_avg_pool, flatten, dropout };

struct LayerConfig {
  LayerKind kind = LayerKind::relu;
  // PyTorch state_dict prefix ("fc1", "features.0"); required for linear, conv2d and batch_norm.
  std::string name;
  int out = 0;        // linear: out_features; conv2d: out_channels
  int kernel = 0;     // conv2d, max_pool: square kernel
  int stride = 1;     // conv2d (default 1), max_pool (default: kernel)
  int padding = 0;    // conv2d
  int groups = 1;     // conv2d
  bool bias = true;   // linear, conv2d
  double eps = 1e-5;  // batch_norm
  double momentum = 0.1;
  double p = 0.5;  // dropout
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
struct NetworkConfig {
  std::filesystem::path file;
  std::string name;
  InputConfig input;
  std::vector<LayerConfig> layers;
};

NetworkConfig read_network(const std::filesystem::path& file, const Overrides& overrides = {});

}  // namespace kintsugi::configs

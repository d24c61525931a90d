// SCALE-Sim topology files: layers by size, without data.
//
// Two kinds, told apart by the header line, one layer a line, columns in this order:
//   Layer name, IFMAP Height, IFMAP Width, Filter Height, Filter Width, Channels, Num Filter, Strides,
//   Layer, M, N, K,
// A trailing comma is allowed, and a remark that starts with # after it. As SCALE-Sim does, sizes of outputs
// are rounded up, ceil((H − F + S) / S), as if the input went on with zeros at its bottom and right edges;
// and a layer with DP in its name is depthwise: every channel is convolved by itself with `Num Filter`
// filters.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "array/layer_shape.h"

namespace kintsugi::workloads {

struct TopologyLayer {
  std::string name;
  array::LayerShape shape;
};

// Throws common::InputError listing every problem of the file at its line and column.
std::vector<TopologyLayer> read_topology(const std::filesystem::path& file);

}  // namespace kintsugi::workloads

// Networks and data for training tests, built without files.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/random.h"
#include "configs/network.h"
#include "workloads/dataset.h"
#include "workloads/float_forward.h"
#include "workloads/network.h"

namespace kintsugi::testing {

using configs::LayerConfig;
using configs::LayerKind;

inline LayerConfig linear(std::string name, int out, bool bias = true) {
  LayerConfig l;
  l.kind = LayerKind::linear, l.name = std::move(name), l.out = out, l.bias = bias;
  return l;
}
inline LayerConfig conv(std::string name, int out, int kernel, int stride = 1, int padding = 0,
                        int groups = 1, bool bias = true) {
  LayerConfig l;
  l.kind = LayerKind::conv2d, l.name = std::move(name), l.out = out, l.bias = bias;
  l.kernel = kernel, l.stride = stride, l.padding = padding, l.groups = groups;
  return l;
}
inline LayerConfig batch_norm(std::string name) {
  LayerConfig l;
  l.kind = LayerKind::batch_norm, l.name = std::move(name);
  return l;
}
inline LayerConfig max_pool(int kernel, int stride) {
  LayerConfig l;
  l.kind = LayerKind::max_pool, l.kernel = kernel, l.stride = stride;
  return l;
}
inline LayerConfig padded_pool(int kernel, int stride, int padding, bool ceil_mode) {
  LayerConfig l = max_pool(kernel, stride);
  l.padding = padding, l.ceil_mode = ceil_mode;
  return l;
}
inline LayerConfig add(std::string name, std::string a, std::string b) {
  LayerConfig l;
  l.kind = LayerKind::add, l.name = std::move(name), l.inputs = {std::move(a), std::move(b)};
  return l;
}
inline LayerConfig response_norm(std::string name, int size, double alpha, double k = 1) {
  LayerConfig l;
  l.kind = LayerKind::local_response_norm, l.name = std::move(name), l.size = size, l.alpha = alpha, l.k = k;
  return l;
}
inline LayerConfig on_unit(LayerConfig l) {
  l.unit = configs::Unit::activation_unit;
  return l;
}
inline LayerConfig named(LayerConfig l, std::string name) {
  l.name = std::move(name);
  return l;
}
inline LayerConfig reading(LayerConfig l, std::string input) {
  l.inputs = {std::move(input)};
  return l;
}
inline LayerConfig dropout(double p) {
  LayerConfig l;
  l.kind = LayerKind::dropout, l.p = p;
  return l;
}
inline LayerConfig plain(LayerKind kind) {
  LayerConfig l;
  l.kind = kind;
  return l;
}
inline LayerConfig relu() {
  return plain(LayerKind::relu);
}
inline LayerConfig flatten() {
  return plain(LayerKind::flatten);
}
inline LayerConfig global_average() {
  return plain(LayerKind::global_avg_pool);
}

inline workloads::Network network_of(int channels, int height, int width, std::vector<LayerConfig> layers) {
  configs::NetworkConfig config;
  config.name = "test";
  config.input.channels = channels, config.input.height = height, config.input.width = width;
  config.input.mean.assign(channels, 0.45);
  config.input.std.assign(channels, 0.3);
  config.layers = std::move(layers);
  return workloads::build_network(config);
}

// Initial weights, with batch-norm's and biases moved away from their special values.
inline workloads::Parameters random_parameters(const workloads::Network& network, std::uint64_t seed) {
  workloads::Parameters parameters = workloads::initial_parameters(network, seed);
  common::RandomStream random(seed, "test-parameters");
  for (auto& [name, tensor] : parameters) {
    if (tensor.shape.size() > 1 || name.ends_with("running_mean") || name.ends_with("running_var")) continue;
    for (float& v : tensor.data) v += static_cast<float>(random.uniform(-0.4, 0.4));
  }
  return parameters;
}

// Learnable images: class k is brighter in its own region, over noise.
inline workloads::ImageSet random_images(std::int64_t count, const workloads::FeatureShape& shape,
                                         std::int64_t classes, std::uint64_t seed) {
  workloads::ImageSet set;
  set.name = "random";
  set.shape = shape;
  set.classes = classes;
  common::RandomStream random(seed, "test-images");
  std::vector<std::uint8_t> pixels;
  for (std::int64_t i = 0; i < count; ++i) {
    const auto label = static_cast<std::int32_t>(random.below(static_cast<std::uint64_t>(classes)));
    set.labels.push_back(label);
    for (std::int64_t j = 0; j < shape.count(); ++j) {
      const std::uint64_t base = j * classes / shape.count() == label ? 120 : 0;
      pixels.push_back(static_cast<std::uint8_t>(base + random.below(136)));
    }
  }
  set.pixels = std::move(pixels);
  return set;
}

}  // namespace kintsugi::testing

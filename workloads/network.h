// A network with sizes: the layer list cut into stages, one per convolution or linear layer.
//
// A stage is what the chip and host do between two GEMMs, in this order: GEMM, bias, batch-norm, ReLU,
// max-pool or global average pool; dropout acts in training only. Shapes and order are checked when it is
// built.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "array/layer_shape.h"
#include "configs/network.h"

namespace kintsugi::workloads {

struct FeatureShape {
  std::int64_t channels = 0, height = 0, width = 0;
  std::int64_t count() const { return channels * height * width; }
};

struct BatchNormStage {
  std::string name;
  double eps = 1e-5;
  double momentum = 0.1;
};

struct MaxPoolStage {
  std::int64_t kernel = 2, stride = 2;
};

struct Stage {
  std::string name;          // state_dict prefix of the convolution or linear layer
  bool convolution = false;  // weight is O×I×KH×KW instead of O×I
  bool bias = true;
  std::int64_t kernel = 1, stride = 1, padding = 0, groups = 1;
  FeatureShape in;        // what the GEMM reads; a linear layer after flatten: {features, 1, 1}
  FeatureShape gemm_out;  // before pooling
  std::optional<BatchNormStage> batch_norm;
  bool relu = false;
  std::optional<MaxPoolStage> max_pool;
  bool global_avg_pool = false;
  double dropout = 0;  // probability, after everything else of the stage
  FeatureShape out;    // after pooling; the next stage's `in` after an optional flatten (C, H, W)

  array::LayerShape layer_shape(std::int64_t batch) const;
  std::int64_t weight_count() const { return gemm_out.channels * (in.channels / groups) * kernel * kernel; }
};

struct Network {
  std::string name;
  configs::InputConfig input;
  std::vector<Stage> stages;
  std::int64_t classes = 0;  // outputs of the last stage

  FeatureShape input_shape() const { return {input.channels, input.height, input.width}; }
  std::int64_t parameter_count() const;
};

// Throws common::InputError listing every problem at its layer: sizes that do not fit, a kernel larger than
// its input, an order of layers that the stages cannot express (for example batch_norm after relu), a
// linear layer on an unflattened map, duplicate names.
Network build_network(const configs::NetworkConfig& config);

}  // namespace kintsugi::workloads

// A network with sizes: the layer list cut into stages, in the order in which they run.
//
// A stage begins with a convolution or linear layer (a GEMM on the chip), a residual add or a local response
// normalisation (on the host or the chip's activation unit). Bias, batch-norm (after a GEMM only), ReLU,
// max-pool or global average pool and flatten follow in this order; dropout acts in training only. A stage
// reads results of earlier stages, of the one before it unless the file says otherwise. Shapes and order are
// checked when it is built.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "array/activation_unit.h"
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

// Positions of a window that lie outside the map (padding, or a last window that sticks out) are left out.
struct MaxPoolStage {
  std::int64_t kernel = 2, stride = 2, padding = 0;
};

enum class StageKind { gemm, add, local_response_norm };

// A stage that reads the image.
inline constexpr int kImage = -1;

struct Stage {
  StageKind kind = StageKind::gemm;
  configs::Unit unit = configs::Unit::host;  // of an add or a local response normalisation
  std::vector<int> inputs;   // the stages whose results it reads, or kImage; two for an add, else one
  std::string name;          // state_dict prefix of the convolution or linear layer
  bool convolution = false;  // weight is O×I×KH×KW instead of O×I
  bool bias = true;
  std::int64_t kernel = 1, stride = 1, padding = 0, groups = 1;
  FeatureShape in;               // what the stage reads; a linear layer after flatten: {features, 1, 1}
  FeatureShape gemm_out;         // before pooling
  array::LocalResponseNorm lrn;  // of such a stage
  std::optional<BatchNormStage> batch_norm;
  bool relu = false;
  std::optional<MaxPoolStage> max_pool;
  bool global_avg_pool = false;
  double dropout = 0;    // probability, after everything else of the stage
  FeatureShape out;      // after pooling
  bool flatten = false;  // readers see `out` as one vector, in the order C, H, W

  bool on_chip() const { return kind == StageKind::gemm; }  // on its array
  bool on_activation_unit() const { return !on_chip() && unit == configs::Unit::activation_unit; }
  // Of a stage on the chip.
  array::LayerShape layer_shape(std::int64_t batch) const;
  // Of a stage with a max-pool.
  array::MaxPool pool_window() const;
  std::int64_t weight_count() const {
    return on_chip() ? gemm_out.channels * (in.channels / groups) * kernel * kernel : 0;
  }
  std::int64_t parameter_count() const;
  std::int64_t macs() const { return on_chip() ? layer_shape(1).macs() : 0; }
};

struct Network {
  std::string name;
  configs::InputConfig input;
  std::vector<Stage> stages;
  std::int64_t classes = 0;
  // Which of the last stage's outputs are the classes, in their order; empty: all of them. See placement.h.
  std::vector<std::int32_t> class_slots = {};

  // Of the last stage: as many as classes, or more where class_slots picks them out.
  std::int64_t outputs() const { return class_slots.empty() ? classes : stages.back().out.count(); }
  // rows × outputs() -> rows × classes. `logits` may be the same memory as `outputs` if nothing is picked.
  void pick_classes(std::span<const float> outputs, std::span<float> logits) const;

  FeatureShape input_shape() const { return {input.channels, input.height, input.width}; }
  std::int64_t parameter_count() const;
  // Values behind a ReLU, before pooling, and the network's outputs (Schorn et al., DATE 2018).
  std::int64_t neurons(std::size_t stage) const;
  // Every stage runs on the chip and reads the one before it.
  bool is_chain() const;
};

// Throws common::InputError listing every problem at its layer: sizes that do not fit, a kernel larger than
// its input, an order of layers that the stages cannot express (for example batch_norm after relu), a
// linear layer on an unflattened map, duplicate names, an input that is unknown or stands later in the file
// (so there are no cycles), an add of different shapes, a result that nobody reads.
Network build_network(const configs::NetworkConfig& config);

}  // namespace kintsugi::workloads

#include "workloads/network.h"

#include <fmt/format.h>

#include <filesystem>
#include <set>

#include "common/diagnostics.h"
#include "common/files.h"

namespace kintsugi::workloads {
namespace {

using configs::LayerConfig;
using configs::LayerKind;

const char* type_name(LayerKind kind) {
  switch (kind) {
    case LayerKind::linear:
      return "linear";
    case LayerKind::conv2d:
      return "conv2d";
    case LayerKind::batch_norm:
      return "batch_norm";
    case LayerKind::relu:
      return "relu";
    case LayerKind::max_pool:
      return "max_pool";
    case LayerKind::global_avg_pool:
      return "global_avg_pool";
    case LayerKind::flatten:
      return "flatten";
    case LayerKind::dropout:
      return "dropout";
  }
  return "";
}

std::string text(const FeatureShape& shape) {
  return fmt::format("{}×{}×{}", shape.channels, shape.height, shape.width);
}

// Larger sizes overflow nothing yet, but no host could hold them.
constexpr std::int64_t kMostElements = std::int64_t{1} << 31;

// Walks the layer list once. After a problem in sizes the walk goes on with the sizes as far as they are
// known, so that independent problems further down are listed too.
class Builder {
 public:
  explicit Builder(const configs::NetworkConfig& config) : config_(config) {
    std::error_code code;
    if (!config.file.empty() && std::filesystem::is_regular_file(config.file, code))
      problems_.add_source(config.input.where.file, common::read_file(config.file));
  }

  Network build() {
    network_.name = config_.name;
    network_.input = config_.input;
    check_input();
    for (const LayerConfig& layer : config_.layers) add(layer);
    check_end();
    problems_.throw_if_any();
    return std::move(network_);
  }

 private:
  // How far the current stage has come; only later steps may follow.
  enum class Step { none, gemm, batch_norm, relu, pool, dropout };

  void check_input() {
    const configs::InputConfig& in = config_.input;
    if (in.channels < 1 || in.height < 1 || in.width < 1) {
      sizes_known_ = false;
      problems_.error(in.where,
                      fmt::format("an input of {}×{}×{} (channels × height × width); each must be at "
                                  "least 1",
                                  in.channels, in.height, in.width));
    }
    const auto check_list = [&](const char* key, const std::vector<double>& values) {
      if (!values.empty() && values.size() != static_cast<std::size_t>(in.channels))
        problems_.error(in.where, fmt::format("'{}' has {} values for {} channels; it needs one per channel",
                                              key, values.size(), in.channels));
    };
    check_list("mean", in.mean);
    check_list("std", in.std);
    for (const double value : in.std)
      if (!(value > 0)) problems_.error(in.where, "'std' must be above 0 for every channel");
    shape_ = {in.channels, in.height, in.width};
  }

  void add(const LayerConfig& layer) {
    switch (layer.kind) {
      case LayerKind::linear:
      case LayerKind::conv2d:
        return add_gemm(layer);
      case LayerKind::batch_norm:
        return add_batch_norm(layer);
      case LayerKind::relu:
        return add_relu(layer);
      case LayerKind::max_pool:
        return add_max_pool(layer);
      case LayerKind::global_avg_pool:
        return add_global_average(layer);
      case LayerKind::flatten:
        return add_flatten(layer);
      case LayerKind::dropout:
        return add_dropout(layer);
    }
  }

  void error(const LayerConfig& layer, const std::string& message) { problems_.error(layer.where, message); }

  void take_name(const LayerConfig& layer) {
    if (layer.name.empty())
      error(layer,
            fmt::format("a {} layer needs a name, its PyTorch state_dict prefix", type_name(layer.kind)));
    else if (!names_.insert(layer.name).second)
      error(layer, fmt::format("the name '{}' is used twice; weights are found by name, so each layer with "
                               "weights needs its own",
                               layer.name));
  }

  void add_gemm(const LayerConfig& layer) {
    take_name(layer);
    if (layer.out < 1) error(layer, fmt::format("{} outputs; at least 1 is needed", layer.out));
    Stage stage;
    stage.name = layer.name;
    stage.bias = layer.bias;
    stage.in = shape_;
    if (layer.kind == LayerKind::conv2d)
      size_convolution(layer, stage);
    else
      size_linear(layer, stage);
    stage.out = shape_ = stage.gemm_out;
    if (sizes_known_ && (shape_.count() > kMostElements || stage.weight_count() > kMostElements))
      error(layer, fmt::format("the layer has {} outputs and {} weights; more than {} are not supported",
                               shape_.count(), stage.weight_count(), kMostElements));
    network_.stages.push_back(std::move(stage));
    step_ = Step::gemm;
  }

  void size_convolution(const LayerConfig& layer, Stage& stage) {
    stage.convolution = true;
    stage.kernel = layer.kernel;
    stage.stride = layer.stride;
    stage.padding = layer.padding;
    stage.groups = layer.groups;
    stage.gemm_out = {layer.out, 1, 1};
    if (flat_) {
      error(layer, "a convolution cannot follow flatten; move the flatten behind the last convolution");
      return;
    }
    if (layer.kernel < 1 || layer.stride < 1 || layer.padding < 0 || layer.groups < 1) {
      error(layer, "kernel, stride and groups must be at least 1, padding at least 0");
      sizes_known_ = false;
      return;
    }
    if (sizes_known_ && shape_.channels % layer.groups != 0)
      error(layer,
            fmt::format("{} input channels do not divide into {} groups", shape_.channels, layer.groups));
    if (layer.out % layer.groups != 0)
      error(layer, fmt::format("{} output channels do not divide into {} groups", layer.out, layer.groups));
    if (!sizes_known_) return;
    const std::int64_t height = shape_.height + 2 * layer.padding, width = shape_.width + 2 * layer.padding;
    if (layer.kernel > height || layer.kernel > width) {
      error(layer, fmt::format("a kernel of {0}×{0} is larger than its input, {1} with padding {2}",
                               layer.kernel, text(shape_), layer.padding));
      sizes_known_ = false;
      return;
    }
    stage.gemm_out.height = (height - layer.kernel) / layer.stride + 1;
    stage.gemm_out.width = (width - layer.kernel) / layer.stride + 1;
  }

  void size_linear(const LayerConfig& layer, Stage& stage) {
    stage.gemm_out = {layer.out, 1, 1};
    if (!flat_)
      error(layer, sizes_known_
                       ? fmt::format("a linear layer on a map of {}; put a flatten before it", text(shape_))
                       : "a linear layer on a map; put a flatten before it");
    flat_ = true;
    sizes_known_ = true;  // what follows depends on the number of outputs only
  }

  // False (and reported) if `layer` cannot come now.
  bool follows(const LayerConfig& layer, Step last_allowed, const char* order) {
    if (step_ == Step::none) {
      error(layer,
            fmt::format("{} before the first linear or conv2d layer is not supported; the chip's host works "
                        "on results of such a layer",
                        type_name(layer.kind)));
      return false;
    }
    if (step_ <= last_allowed) return true;
    error(layer, fmt::format("{} cannot come here: {}", type_name(layer.kind), order));
    return false;
  }

  static constexpr const char* kOrder =
      "after a linear or conv2d layer the order is batch_norm, relu, max_pool or global_avg_pool, dropout, "
      "each at most once";

  void add_batch_norm(const LayerConfig& layer) {
    take_name(layer);
    if (!follows(layer, Step::gemm, kOrder)) return;
    if (flat_ && network_.stages.back().convolution)
      return error(layer, "batch_norm must stand before flatten");
    network_.stages.back().batch_norm = BatchNormStage{layer.name, layer.eps, layer.momentum};
    step_ = Step::batch_norm;
  }

  void add_relu(const LayerConfig& layer) {
    // A ReLU right behind a max-pool gives the same values as one before it, so it may stand there too.
    const bool behind_pool =
        step_ == Step::pool && !network_.stages.back().relu && network_.stages.back().max_pool;
    if (!behind_pool && !follows(layer, Step::batch_norm, kOrder)) return;
    network_.stages.back().relu = true;
    if (!behind_pool) step_ = Step::relu;
  }

  bool pool_fits(const LayerConfig& layer) {
    if (!follows(layer, Step::relu, kOrder)) return false;
    if (!flat_) return true;
    error(layer, fmt::format("{} on a flat vector; it works on maps, before flatten", type_name(layer.kind)));
    return false;
  }

  void add_max_pool(const LayerConfig& layer) {
    if (!pool_fits(layer)) return;
    step_ = Step::pool;
    if (layer.kernel < 1 || layer.stride < 1) return error(layer, "kernel and stride must be at least 1");
    Stage& stage = network_.stages.back();
    stage.max_pool = MaxPoolStage{layer.kernel, layer.stride};
    if (!sizes_known_) return;
    if (layer.kernel > shape_.height || layer.kernel > shape_.width) {
      error(layer, fmt::format("a pooling window of {0}×{0} is larger than its input, {1}", layer.kernel,
                               text(shape_)));
      sizes_known_ = false;
      return;
    }
    shape_.height = (shape_.height - layer.kernel) / layer.stride + 1;
    shape_.width = (shape_.width - layer.kernel) / layer.stride + 1;
    stage.out = shape_;
  }

  void add_global_average(const LayerConfig& layer) {
    if (!pool_fits(layer)) return;
    step_ = Step::pool;
    Stage& stage = network_.stages.back();
    stage.global_avg_pool = true;
    stage.out = shape_ = {stage.gemm_out.channels, 1, 1};
    sizes_known_ = true;
  }

  void add_flatten(const LayerConfig& layer) {
    if (flat_) return error(layer, "flatten on a vector that is flat already; remove it");
    flat_ = true;
    shape_ = {shape_.count(), 1, 1};
  }

  void add_dropout(const LayerConfig& layer) {
    if (!follows(layer, Step::pool, kOrder)) return;
    if (!(layer.p >= 0 && layer.p < 1))
      return error(layer, "a dropout probability must be at least 0 and below 1");
    network_.stages.back().dropout = layer.p;
    step_ = Step::dropout;
  }

  void check_end() {
    if (network_.stages.empty())
      return problems_.error({config_.input.where.file}, "the network has no linear or conv2d layer");
    const LayerConfig& layer = config_.layers.back();
    const Stage& last = network_.stages.back();
    if (last.dropout > 0) error(layer, "dropout behind the last layer would drop class scores; remove it");
    if (last.max_pool)
      error(layer,
            "a network cannot end in max_pool; its classes come from a linear layer or a "
            "global_avg_pool");
    else if (last.relu && !last.global_avg_pool)
      error(layer, "a relu behind the last layer would cut negative class scores off; remove it");
    else if (sizes_known_ && (last.out.height != 1 || last.out.width != 1))
      error(layer,
            fmt::format("the network ends in a map of {}; end it in a linear layer or a global_avg_pool",
                        text(last.out)));
    network_.classes = last.out.channels;
    if (network_.classes < 2)
      error(layer, "the network has one output; a classifier needs at least two classes");
  }

  const configs::NetworkConfig& config_;
  common::Diagnostics problems_;
  Network network_;
  FeatureShape shape_;  // what the next layer reads
  bool flat_ = false;
  bool sizes_known_ = true;  // false behind a layer whose output size could not be told
  Step step_ = Step::none;
  std::set<std::string> names_;
};

}  // namespace

array::LayerShape Stage::layer_shape(std::int64_t batch) const {
  array::LayerShape shape;
  shape.batch = batch;
  shape.in_h = in.height;
  shape.in_w = in.width;
  shape.in_c = in.channels;
  shape.kernel_h = shape.kernel_w = kernel;
  shape.stride = stride;
  shape.padding = padding;
  shape.groups = groups;
  shape.out_c = gemm_out.channels;
  return shape;
}

std::int64_t Network::parameter_count() const {
  std::int64_t count = 0;
  for (const Stage& stage : stages) {
    count += stage.weight_count();
    if (stage.bias) count += stage.gemm_out.channels;
    if (stage.batch_norm) count += 2 * stage.gemm_out.channels;
  }
  return count;
}

Network build_network(const configs::NetworkConfig& config) {
  return Builder(config).build();
}

}  // namespace kintsugi::workloads

// From a list of layers to stages, with everything checked.
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <optional>
#include <set>

#include "common/diagnostics.h"
#include "common/files.h"
#include "common/text.h"
#include "workloads/network.h"

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
    case LayerKind::add:
      return "add";
    case LayerKind::local_response_norm:
      return "local_response_norm";
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
    for (const LayerConfig& layer : config_.layers) {
      add(layer);
      if (!layer.name.empty()) named_[layer.name] = network_.stages.size();
      last_name_ = layer.name;
    }
    check_end();
    problems_.throw_if_any();
    check_readers();
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
      case LayerKind::add:
        return add_sum(layer);
      case LayerKind::local_response_norm:
        return add_local_response_norm(layer);
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

  // What stage s leaves for others.
  struct Result {
    FeatureShape shape;
    bool flat = false, sizes_known = true;
    std::string name;  // of its last layer; may be empty
  };

  // Ends the current stage, so that its result can be read.
  void close_stage() {
    if (network_.stages.size() > results_.size())
      results_.push_back({shape_, flat_, sizes_known_, last_name_});
  }

  // The stage behind a name, if its result can be read; otherwise reports why not.
  std::optional<int> resolve(const LayerConfig& layer, const std::string& name) {
    const auto found = named_.find(name);
    if (found == named_.end()) {
      std::vector<std::string> known;
      for (const auto& [other, stage] : named_) known.push_back(other);
      for (const LayerConfig& other : config_.layers)
        if (other.name == name) {
          error(layer,
                fmt::format("the input '{}' is {}; a layer reads only layers that stand above it", name,
                            name == layer.name ? "the layer itself"
                                               : "defined further down, at " + to_string(other.where)));
          return std::nullopt;
        }
      const auto near = common::nearest(name, known);
      error(layer, fmt::format("the input '{}' is not the name of a layer{}", name,
                               near ? fmt::format("; did you mean '{}'?", *near)
                                    : "; give the layer that is meant a 'name'"));
      return std::nullopt;
    }
    const std::size_t stage = found->second - 1;
    if (found->second == 0 || results_[stage].name != name) {
      const std::string last = found->second == 0 ? "" : results_[stage].name;
      error(layer,
            fmt::format("the input '{}' is worked on at once by the layers behind it, so its own result "
                        "is not kept; {}",
                        name,
                        last.empty() ? "give the last of them a 'name' and read that"
                                     : fmt::format("read '{}', the last of them", last)));
      return std::nullopt;
    }
    return static_cast<int>(stage);
  }

  void read_result(const LayerConfig& layer, const std::string& name, Stage& stage) {
    const std::optional<int> source = resolve(layer, name);
    if (!source) {
      sizes_known_ = false;
      flat_ = layer.kind == LayerKind::linear;
      return;
    }
    const Result& result = results_[static_cast<std::size_t>(*source)];
    shape_ = result.shape;
    flat_ = result.flat;
    sizes_known_ = result.sizes_known;
    stage.inputs.push_back(*source);
  }

  // A new stage that reads what `layer` names, or the stage before it; shape_ and flat_ are what it reads.
  Stage begin_stage(const LayerConfig& layer) {
    take_name(layer);
    close_stage();
    Stage stage;
    stage.name = layer.name;
    stage.bias = layer.bias;
    if (layer.inputs.empty())
      stage.inputs = {static_cast<int>(network_.stages.size()) - 1};  // kImage for the first
    else
      read_result(layer, layer.inputs.front(), stage);
    stage.in = shape_;
    return stage;
  }

  void add_sum(const LayerConfig& layer) {
    Stage stage = begin_stage(layer);
    stage.kind = StageKind::add;
    stage.unit = layer.unit;
    stage.bias = false;
    const bool first_known = sizes_known_, first_flat = flat_;
    if (layer.inputs.size() == 2) read_result(layer, layer.inputs[1], stage);
    const bool same_shape = shape_.channels == stage.in.channels && shape_.height == stage.in.height &&
                            shape_.width == stage.in.width && flat_ == first_flat;
    if (layer.inputs.size() != 2)
      error(layer, "an add needs two inputs");
    else if (stage.inputs.size() == 2 && first_known && sizes_known_ && !same_shape)
      error(layer, fmt::format("the inputs of an add must have one shape, but '{}' is {} and '{}' is {}",
                               layer.inputs[0], text(stage.in), layer.inputs[1], text(shape_)));
    end_elementwise_stage(std::move(stage), Step::batch_norm);
  }

  void add_local_response_norm(const LayerConfig& layer) {
    if (network_.stages.empty()) {
      follows(layer, Step::none, kOrder);
      return take_name(layer);
    }
    Stage stage = begin_stage(layer);
    stage.kind = StageKind::local_response_norm;
    stage.unit = layer.unit;
    stage.bias = false;
    stage.lrn = {layer.size, layer.alpha, layer.beta, layer.k};
    if (flat_) error(layer, "local_response_norm on a flat vector; it works on maps, before flatten");
    end_elementwise_stage(std::move(stage), Step::relu);
  }

  void end_elementwise_stage(Stage stage, Step step) {
    shape_ = stage.in;
    stage.gemm_out = stage.out = stage.in;
    network_.stages.push_back(std::move(stage));
    step_ = step;
  }

  void add_gemm(const LayerConfig& layer) {
    if (layer.out < 1) error(layer, fmt::format("{} outputs; at least 1 is needed", layer.out));
    Stage stage = begin_stage(layer);
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
    if (layer.padding < 0 || 2 * layer.padding > layer.kernel)
      return error(layer, fmt::format("a padding of {} with a pooling window of {}; at most half the window, "
                                      "or windows would lie outside the map",
                                      layer.padding, layer.kernel));
    Stage& stage = network_.stages.back();
    stage.max_pool = MaxPoolStage{layer.kernel, layer.stride, layer.padding};
    if (!sizes_known_) return;
    if (layer.kernel > shape_.height + 2 * layer.padding || layer.kernel > shape_.width + 2 * layer.padding) {
      error(layer, fmt::format("a pooling window of {0}×{0} is larger than its input, {1}", layer.kernel,
                               text(shape_)));
      sizes_known_ = false;
      return;
    }
    shape_.height = pooled_size(shape_.height, layer);
    shape_.width = pooled_size(shape_.width, layer);
    stage.out = shape_;
  }

  // As PyTorch and Caffe: rounded up, a last window that would begin behind the map is dropped.
  static std::int64_t pooled_size(std::int64_t size, const LayerConfig& layer) {
    const std::int64_t room = size + 2 * layer.padding - layer.kernel;
    if (!layer.ceil_mode) return room / layer.stride + 1;
    const std::int64_t windows = (room + layer.stride - 1) / layer.stride + 1;
    return (windows - 1) * layer.stride >= size + layer.padding ? windows - 1 : windows;
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
    if (!network_.stages.empty()) network_.stages.back().flatten = true;
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
    if (!last.on_chip() && !last.global_avg_pool)
      error(layer, "a network cannot end here; its classes come from a linear layer or a global_avg_pool");
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

  // Every result is read, except the last stage's, which are the classes.
  void check_readers() {
    std::vector<bool> read(network_.stages.size());
    for (const Stage& stage : network_.stages)
      for (const int source : stage.inputs)
        if (source != kImage) read[static_cast<std::size_t>(source)] = true;
    for (std::size_t s = 0; s + 1 < read.size(); ++s) {
      if (read[s]) continue;
      const auto layer = std::find_if(config_.layers.begin(), config_.layers.end(),
                                      [&](const auto& l) { return l.name == network_.stages[s].name; });
      if (layer != config_.layers.end())
        error(*layer, fmt::format("nothing reads the result of '{}'; remove the layer or name its result as "
                                  "an input",
                                  layer->name));
    }
  }

  const configs::NetworkConfig& config_;
  common::Diagnostics problems_;
  Network network_;
  FeatureShape shape_;  // what the next layer reads
  bool flat_ = false;
  bool sizes_known_ = true;  // false behind a layer whose output size could not be told
  Step step_ = Step::none;
  std::set<std::string> names_;
  std::map<std::string, std::size_t> named_;  // layers so far, and how many stages there were behind each
  std::string last_name_;                     // of the layer before; may be empty
  std::vector<Result> results_;               // of the stages that are complete
};

}  // namespace

Network build_network(const configs::NetworkConfig& config) {
  return Builder(config).build();
}

}  // namespace kintsugi::workloads

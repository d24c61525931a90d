#include "workloads/inference.h"

#include <fmt/format.h>

#include <algorithm>
#include <stdexcept>

#include "common/diagnostics.h"
#include "workloads/float_forward.h"
#include "workloads/memory_plan.h"
#include "workloads/pooling.h"
#include "workloads/pruning_mask.h"

namespace kintsugi::workloads {

namespace {

using array::DeviceAddress;

// Where a stage's operands stand in device memory. Outputs and results in DRAM have places of their own, so
// that all of them can be read afterwards; those in the unified buffer stay until their last reader is done.
struct StagePlace {
  DeviceAddress weights = 0, table = 0;
  DeviceAddress output = 0;  // before any pooling
  DeviceAddress pooled = 0;  // by the chip
  DeviceAddress result = 0;  // what readers see
};

class Runner {
 public:
  Runner(array::Accelerator& device, const Network& network, const DeployedNetwork& deployed,
         std::int64_t batch, const LayerOutputObserver& observe, const LayerHooks& hooks,
         const StageRewriter& rewrite)
      : device_(device),
        network_(network),
        deployed_(deployed),
        observe_(observe),
        hooks_(hooks),
        rewrite_(rewrite) {
    if (deployed.stages.size() != network.stages.size())
      throw std::invalid_argument("infer: the deployed network has another number of stages");
    place(batch);
    for (std::size_t s = 0; s < network.stages.size(); ++s)
      if (network.stages[s].on_chip()) send_weights(s);
  }

  // One batch; logits: count × classes. Adds to the stages' reports.
  void run(const ImageSet& images, std::int64_t begin, std::int64_t count, std::span<float> logits,
           std::vector<LayerReport>& reports) {
    load_images(images, begin, count);
    for (std::size_t s = 0; s < network_.stages.size(); ++s) {
      if (rewrite_ && network_.stages[s].on_chip()) show_input(s, count);
      if (network_.stages[s].on_chip())
        launch(s, count, reports[s]);
      else if (network_.stages[s].on_activation_unit())
        launch_on_activation_unit(s, count, reports[s]);
      else
        compute_on_host(s, count);
      if (observe_) show(s, count);
      if (s + 1 < network_.stages.size())
        keep_result(s, count);
      else
        finish(s, count, logits);
    }
  }

 private:
  // The output is int8, not accumulators.
  bool requantised(std::size_t s) const {
    return !network_.stages[s].on_chip() || !deployed_.stages[s].requantization.empty();
  }
  std::int64_t output_bytes(std::size_t s, std::int64_t count) const {
    return count * network_.stages[s].gemm_out.count() * (requantised(s) ? 1 : 4);
  }
  // The chip pools what its array computed.
  bool pools_on_chip(std::size_t s) const {
    return network_.stages[s].on_chip() && network_.stages[s].max_pool && requantised(s);
  }
  DeviceAddress address_of(int source) const {
    return source == kImage ? image_ : places_[static_cast<std::size_t>(source)].result;
  }

  template <class Take>
  void place_results(std::size_t s, std::int64_t batch, const Take& take, StagePlace& at) const {
    const Stage& stage = network_.stages[s];
    const auto take_result = [&] {
      return plan_.homes[s] ? array::kBufferBase + *plan_.homes[s] : take(batch * stage.out.count());
    };
    const bool pools = pools_on_chip(s), reworked = host_reworks(stage);
    at.output = pools || reworked || !plan_.homes[s] ? take(output_bytes(s, batch)) : take_result();
    if (pools) at.pooled = take_result();
    at.result = reworked ? take(batch * stage.out.count()) : pools ? at.pooled : at.output;
  }

  void place(std::int64_t batch) {
    plan_ = plan_memory(network_, batch, device_.chip());
    DeviceAddress next = 0;
    const auto take = [&](std::int64_t bytes) {
      const DeviceAddress at = next;
      next += (static_cast<DeviceAddress>(bytes) + 63) / 64 * 64;
      return at;
    };
    image_ = take(batch * network_.input_shape().count());
    for (std::size_t s = 0; s < network_.stages.size(); ++s) {
      const Stage& stage = network_.stages[s];
      StagePlace at;
      if (stage.on_chip()) {
        const array::LayerShape shape = stage.layer_shape(batch);
        at.weights = take(shape.weight_bytes());
        at.table = take(shape.out_c * static_cast<std::int64_t>(sizeof(array::Requantization)));
      }
      place_results(s, batch, take, at);
      places_.push_back(at);
    }
    if (next > device_.memory_bytes())
      throw common::InputError(fmt::format(
          "a batch of {} images of network '{}' needs {} bytes of device memory; the device has {}. "
          "Choose a smaller batch",
          batch, network_.name, next, device_.memory_bytes()));
  }

  void send_weights(std::size_t s) {
    const std::vector<std::int8_t> weight = device_weight(network_.stages[s], deployed_.stages[s].weight);
    device_.data_to_device(places_[s].weights, array::as_device_bytes(std::span(weight)));
    device_.data_to_device(places_[s].table,
                           array::as_device_bytes(std::span(deployed_.stages[s].requantization)));
  }

  void show_input(std::size_t s, std::int64_t count) {
    const Stage& stage = network_.stages[s];
    fetch(address_of(stage.inputs.front()), stage.in.count(), count);
    if (rewrite_(s, codes_)) send_weights(s);
  }

  void load_images(const ImageSet& images, std::int64_t begin, std::int64_t count) {
    const FeatureShape shape = network_.input_shape();
    const auto values = static_cast<std::size_t>(count * shape.count());
    pixels_.resize(values);
    codes_.resize(values);
    normalize(images, begin, count, network_.input, pixels_);
    device_.float_to_int(pixels_, deployed_.stages[0].input_scale, codes_);
    const bool flat = network_.stages[0].in.channels != shape.channels;
    if (!flat && shape.channels > 1) {
      arranged_.resize(values);
      device_.layout_reorder(codes_, count, shape.channels, shape.height * shape.width, arranged_);
      codes_.swap(arranged_);
    }
    device_.data_to_device(image_, array::as_device_bytes(std::span(codes_)));
  }

  void launch(std::size_t s, std::int64_t count, LayerReport& report) {
    array::LayerLaunch launch;
    launch.shape = network_.stages[s].layer_shape(count);
    launch.activations = address_of(network_.stages[s].inputs.front());
    launch.weights = places_[s].weights;
    launch.output = places_[s].output;
    if (requantised(s)) {
      launch.requantization = places_[s].table;
      launch.relu = network_.stages[s].relu;
    }
    if (pools_on_chip(s))
      launch.pool = array::PoolLaunch{network_.stages[s].pool_window(), places_[s].pooled};
    launch.buffer_offset = plan_.work[s].offset;
    launch.buffer_bytes = plan_.work[s].bytes;
    for (std::size_t n = s + 1; n < network_.stages.size() && !launch.next; ++n)
      if (network_.stages[n].on_chip())
        launch.next = array::NextWeights{network_.stages[n].layer_shape(count), places_[n].weights};
    if (hooks_.begin) hooks_.begin(report.layer);
    const array::LaunchReport cost = launched(launch, report.layer);
    if (hooks_.end) hooks_.end(cost.cycles);
    if (hooks_.launched) hooks_.launched(launch);
    add_launch(report, launch, cost, device_.chip());
  }

  // What the device refuses is said with the layer's name.
  template <class Launch>
  array::LaunchReport launched(const Launch& launch, const std::string& layer) {
    try {
      return device_.launch(launch);
    } catch (const common::InputError& error) {
      throw common::InputError(fmt::format("layer '{}': {}", layer, error.what()));
    }
  }

  void launch_on_activation_unit(std::size_t s, std::int64_t count, LayerReport& report) {
    const Stage& stage = network_.stages[s];
    const DeployedStage& deployed = deployed_.stages[s];
    array::VectorLaunch launch;
    launch.rows = count * stage.in.height * stage.in.width;
    launch.channels = stage.in.channels;
    launch.a = address_of(stage.inputs.front());
    launch.output = places_[s].output;
    if (stage.kind == StageKind::add) {
      launch.b = address_of(stage.inputs[1]);
      launch.add = *deployed.add;
      launch.relu = stage.relu;
    } else {
      launch.kind = array::VectorLaunch::Kind::local_response_norm;
      launch.norm = stage.lrn;
      launch.norm_in_scale = deployed.input_scale;
      launch.norm_out_scale = *deployed.result_scale;
    }
    launch.buffer_offset = plan_.work[s].offset;
    launch.buffer_bytes = plan_.work[s].bytes;
    // Maps whose home is DRAM go through the working space, in as many passes as that takes.
    const std::int64_t rows = launch.rows, at_once = rows_at_once(launch);
    for (std::int64_t done = 0; done < rows; done += launch.rows) {
      launch.rows = std::min(at_once, rows - done);
      if (hooks_.begin) hooks_.begin(report.layer);
      const array::LaunchReport cost = launched(launch, report.layer);
      if (hooks_.end) hooks_.end(cost.cycles);
      add_launch(report, cost, device_.chip());
      const auto bytes = static_cast<DeviceAddress>(launch.rows * launch.channels);
      launch.a += bytes;
      launch.b += bytes;
      launch.output += bytes;
    }
  }

  std::int64_t rows_at_once(const array::VectorLaunch& launch) const {
    const auto in_dram = [](DeviceAddress map) { return map < array::kBufferBase; };
    const bool passes_through = in_dram(launch.a) || in_dram(launch.output) ||
                                (launch.kind == array::VectorLaunch::Kind::add && in_dram(launch.b));
    if (!device_.chip().memory || !passes_through) return launch.rows;
    return std::max<std::int64_t>(1, static_cast<std::int64_t>(launch.buffer_bytes) / launch.channels);
  }

  void compute_on_host(std::size_t s, std::int64_t count) {
    const Stage& stage = network_.stages[s];
    const DeployedStage& deployed = deployed_.stages[s];
    const auto read = [&](int source, std::vector<std::int8_t>& values) {
      values.resize(static_cast<std::size_t>(count * stage.in.count()));
      device_.data_from_device(address_of(source), std::as_writable_bytes(std::span(values)));
    };
    read(stage.inputs.front(), codes_);
    if (stage.kind == StageKind::add) {
      read(stage.inputs[1], arranged_);
      array::residual_add(codes_, arranged_, *deployed.add, stage.relu, codes_);
    } else {
      arranged_.resize(codes_.size());
      array::local_response_norm(stage.lrn, stage.in.channels, deployed.input_scale, *deployed.result_scale,
                                 codes_, arranged_);
      codes_.swap(arranged_);
    }
    device_.data_to_device(places_[s].output, array::as_device_bytes(std::span(codes_)));
  }

  void show(std::size_t s, std::int64_t count) {
    raw_.resize(static_cast<std::size_t>(output_bytes(s, count)));
    device_.data_from_device(places_[s].output, raw_);
    observe_(s, raw_);
  }

  // `values` int8 of every image, from a map in N, H, W, C.
  void fetch(DeviceAddress from, std::int64_t values, std::int64_t count) {
    codes_.resize(static_cast<std::size_t>(count * values));
    device_.data_from_device(from, std::as_writable_bytes(std::span(codes_)));
  }

  // What the chip leaves to the host; what needs no such work stays where it is.
  void keep_result(std::size_t s, std::int64_t count) {
    const Stage& stage = network_.stages[s];
    if (!host_reworks(stage)) return;
    if (pools_on_chip(s))
      fetch(places_[s].pooled, stage.out.count(), count);
    else
      fetch(places_[s].output, stage.gemm_out.count(), count);
    if (stage.max_pool && !pools_on_chip(s)) {
      arranged_.resize(static_cast<std::size_t>(count * stage.out.count()));
      array::max_pool(stage.pool_window(), count, stage.gemm_out.height, stage.gemm_out.width,
                      stage.gemm_out.channels, codes_, arranged_);
      codes_.swap(arranged_);
    } else if (stage.global_avg_pool) {
      sum_pixels(s, count);
      codes_.resize(sums_.size());
      // Positive factors keep ReLU's result as it is, so it is not applied again.
      array::requantize(sums_, std::span(&*deployed_.stages[s].average, 1), false, codes_);
    }
    if (host_reorders(stage)) {
      arranged_.resize(codes_.size());
      device_.layout_recover(codes_, count, stage.out.channels, stage.out.height * stage.out.width,
                             arranged_);
      codes_.swap(arranged_);
    }
    device_.data_to_device(places_[s].result, array::as_device_bytes(std::span(codes_)));
  }

  void sum_pixels(std::size_t s, std::int64_t count) {
    const Stage& stage = network_.stages[s];
    sums_.resize(static_cast<std::size_t>(count * stage.gemm_out.channels));
    sum_pixels_int8(stage, count, codes_, sums_);
  }

  void finish(std::size_t s, std::int64_t count, std::span<float> logits) {
    const Stage& stage = network_.stages[s];
    const DeployedStage& deployed = deployed_.stages[s];
    if (stage.out.count() != network_.outputs() || stage.max_pool || (stage.relu && !stage.global_avg_pool))
      throw common::InputError(
          fmt::format("network '{}': its last stage '{}' must give one plain number per class", network_.name,
                      stage.name));
    outputs_.resize(static_cast<std::size_t>(count * network_.outputs()));
    if (stage.global_avg_pool) {
      fetch(places_[s].output, stage.gemm_out.count(), count);
      sum_pixels(s, count);
      device_.int_to_float(sums_, deployed.output_scale, outputs_);
    } else {
      sums_.resize(outputs_.size());
      device_.data_from_device(places_[s].output, std::as_writable_bytes(std::span(sums_)));
      device_.int_to_float(sums_, deployed.output_scale, outputs_);
      const std::size_t width = deployed.output_bias.size();
      for (std::size_t i = 0; i < outputs_.size(); ++i) outputs_[i] += deployed.output_bias[i % width];
    }
    network_.pick_classes(outputs_, logits);
  }

  array::Accelerator& device_;
  const Network& network_;
  const DeployedNetwork& deployed_;
  const LayerOutputObserver& observe_;
  const LayerHooks& hooks_;
  const StageRewriter& rewrite_;
  MemoryPlan plan_;
  std::vector<StagePlace> places_;
  DeviceAddress image_ = 0;
  std::vector<float> pixels_, outputs_;
  std::vector<std::int8_t> codes_, arranged_;
  std::vector<std::int32_t> sums_;
  std::vector<std::byte> raw_;
};

// Arg-max of each row, ties to the lowest class.
std::vector<std::int32_t> predict(const Tensor<float>& logits) {
  std::vector<std::int32_t> predicted(static_cast<std::size_t>(logits.shape[0]));
  const std::int64_t classes = logits.shape[1];
  for (std::size_t i = 0; i < predicted.size(); ++i) {
    const float* row = logits.data.data() + static_cast<std::int64_t>(i) * classes;
    predicted[i] = static_cast<std::int32_t>(std::max_element(row, row + classes) - row);
  }
  return predicted;
}

}  // namespace

InferenceResult infer(array::Accelerator& accelerator, const Network& network,
                      const DeployedNetwork& deployed, const ImageSet& images, std::int64_t batch,
                      const faults::ArrayFaults& faults, const LayerOutputObserver& observe,
                      const LayerHooks& hooks, const StageRewriter& rewrite) {
  if (batch < 1) throw common::InputError(fmt::format("a batch of {} images; it must be at least 1", batch));
  batch = std::min(batch, std::max<std::int64_t>(1, images.size()));
  InferenceResult result;
  result.logits = Tensor<float>({images.size(), network.classes});
  const configs::ChipConfig& chip = accelerator.chip();
  for (const Stage& stage : network.stages) {
    LayerReport report;
    report.layer = stage.name;
    if (!stage.on_chip()) {
      result.layers.push_back(report);
      continue;
    }
    const array::LayerShape shape = stage.layer_shape(batch);
    report.m = shape.m();
    report.k = shape.k();
    report.n = shape.n();
    report.mapped_fault_rate = mapped_fault_rate(stage, faults, chip);
    result.layers.push_back(report);
  }
  Runner runner(accelerator, network, deployed, batch, observe, hooks, rewrite);
  for (std::int64_t begin = 0; begin < images.size(); begin += batch) {
    const std::int64_t count = std::min(batch, images.size() - begin);
    runner.run(images, begin, count,
               std::span(result.logits.data)
                   .subspan(static_cast<std::size_t>(begin * network.classes),
                            static_cast<std::size_t>(count * network.classes)),
               result.layers);
  }
  result.predicted = predict(result.logits);
  return result;
}

std::vector<std::int32_t> float_predictions(const Network& network, const Parameters& parameters,
                                            const ImageSet& images, common::ThreadPool* pool) {
  return predict(float_logits(network, parameters, images, {}, pool));
}

double accuracy(const std::vector<std::int32_t>& predicted, const std::vector<std::int32_t>& labels) {
  if (predicted.size() != labels.size() || labels.empty())
    throw std::invalid_argument("accuracy: as many predictions as labels are needed, at least one");
  std::int64_t right = 0;
  for (std::size_t i = 0; i < labels.size(); ++i) right += predicted[i] == labels[i];
  return static_cast<double>(right) / static_cast<double>(labels.size());
}

}  // namespace kintsugi::workloads

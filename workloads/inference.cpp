#include "workloads/inference.h"

#include <fmt/format.h>

#include <algorithm>
#include <stdexcept>

#include "common/csv.h"
#include "common/diagnostics.h"
#include "common/text.h"
#include "workloads/float_forward.h"
#include "workloads/local_response_norm.h"
#include "workloads/pooling.h"
#include "workloads/pruning_mask.h"
#include "workloads/residual_add.h"

namespace kintsugi::workloads {

namespace {

using array::DeviceAddress;

// Where a stage's operands stand in device memory. Every stage has its own output, and its own result where
// pooling or flattening makes one of the output, so that all intermediate results can be read afterwards.
struct StagePlace {
  DeviceAddress weights = 0, table = 0, output = 0, result = 0;
};

class Runner {
 public:
  Runner(array::Accelerator& device, const Network& network, const DeployedNetwork& deployed,
         std::int64_t batch, const LayerOutputObserver& observe)
      : device_(device), network_(network), deployed_(deployed), observe_(observe) {
    if (deployed.stages.size() != network.stages.size())
      throw std::invalid_argument("infer: the deployed network has another number of stages");
    place(batch);
    for (std::size_t s = 0; s < network.stages.size(); ++s) {
      if (!network.stages[s].on_chip()) continue;
      const std::vector<std::int8_t> weight = device_weight(network.stages[s], deployed.stages[s].weight);
      device_.data_to_device(places_[s].weights, array::as_device_bytes(std::span(weight)));
      device_.data_to_device(places_[s].table,
                             array::as_device_bytes(std::span(deployed.stages[s].requantization)));
    }
  }

  // One batch; logits: count × classes. Adds to the stages' reports.
  void run(const ImageSet& images, std::int64_t begin, std::int64_t count, std::span<float> logits,
           std::vector<LayerReport>& reports) {
    load_images(images, begin, count);
    for (std::size_t s = 0; s < network_.stages.size(); ++s) {
      if (network_.stages[s].on_chip())
        launch(s, count, reports[s]);
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
  // Readers see the map as one vector, in the order C, H, W.
  bool reordered(std::size_t s) const {
    const Stage& stage = network_.stages[s];
    return stage.flatten && stage.out.height * stage.out.width > 1;
  }
  // Readers see something else than the output itself.
  bool reworked(std::size_t s) const {
    const Stage& stage = network_.stages[s];
    return stage.max_pool || stage.global_avg_pool || reordered(s);
  }
  DeviceAddress address_of(int source) const {
    return source == kImage ? image_ : places_[static_cast<std::size_t>(source)].result;
  }

  void place(std::int64_t batch) {
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
      at.output = take(output_bytes(s, batch));
      at.result = reworked(s) ? take(batch * stage.out.count()) : at.output;
      places_.push_back(at);
    }
    if (next > device_.memory_bytes())
      throw common::InputError(fmt::format(
          "a batch of {} images of network '{}' needs {} bytes of device memory; the device has {}. "
          "Choose a smaller batch",
          batch, network_.name, next, device_.memory_bytes()));
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
    const array::LaunchReport cost = device_.launch(launch);
    const configs::ChipConfig& chip = device_.chip();
    report.cycles += cost.cycles;
    report.stall_cycles += cost.stall_cycles;
    report.macs += launch.shape.macs();
    report.tiles +=
        launch.shape.groups *
        array::make_tiling(launch.shape, chip.array.rows, chip.array.cols, chip.convolution).tiles();
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
      residual_add(codes_, arranged_, *deployed.add, stage.relu, codes_);
    } else {
      arranged_.resize(codes_.size());
      local_response_norm_int8(stage.lrn, stage.in.channels, deployed.input_scale, *deployed.result_scale,
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

  // A stage's int8 output, N, H, W, C.
  void fetch(std::size_t s, std::int64_t count) {
    codes_.resize(static_cast<std::size_t>(count * network_.stages[s].gemm_out.count()));
    device_.data_from_device(places_[s].output, std::as_writable_bytes(std::span(codes_)));
  }

  // Pools and flattens on the host; what needs no such work stays where it is.
  void keep_result(std::size_t s, std::int64_t count) {
    const Stage& stage = network_.stages[s];
    if (!reworked(s)) return;
    fetch(s, count);
    if (stage.max_pool) {
      arranged_.resize(static_cast<std::size_t>(count * stage.out.count()));
      max_pool_int8(stage, count, codes_, arranged_);
      codes_.swap(arranged_);
    } else if (stage.global_avg_pool) {
      sum_pixels(s, count);
      codes_.resize(sums_.size());
      // Positive factors keep ReLU's result as it is, so it is not applied again.
      array::requantize(sums_, std::span(&*deployed_.stages[s].average, 1), false, codes_);
    }
    if (reordered(s)) {
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
    if (stage.out.count() != network_.classes || stage.max_pool || (stage.relu && !stage.global_avg_pool))
      throw common::InputError(
          fmt::format("network '{}': its last stage '{}' must give one plain number per class", network_.name,
                      stage.name));
    if (stage.global_avg_pool) {
      fetch(s, count);
      sum_pixels(s, count);
      device_.int_to_float(sums_, deployed.output_scale, logits);
      return;
    }
    sums_.resize(logits.size());
    device_.data_from_device(places_[s].output, std::as_writable_bytes(std::span(sums_)));
    device_.int_to_float(sums_, deployed.output_scale, logits);
    const std::size_t classes = deployed.output_bias.size();
    for (std::size_t i = 0; i < logits.size(); ++i) logits[i] += deployed.output_bias[i % classes];
  }

  array::Accelerator& device_;
  const Network& network_;
  const DeployedNetwork& deployed_;
  const LayerOutputObserver& observe_;
  std::vector<StagePlace> places_;
  DeviceAddress image_ = 0;
  std::vector<float> pixels_;
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
                      const faults::ArrayFaults& faults, const LayerOutputObserver& observe) {
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
  Runner runner(accelerator, network, deployed, batch, observe);
  for (std::int64_t begin = 0; begin < images.size(); begin += batch) {
    const std::int64_t count = std::min(batch, images.size() - begin);
    runner.run(images, begin, count,
               std::span(result.logits.data)
                   .subspan(static_cast<std::size_t>(begin * network.classes),
                            static_cast<std::size_t>(count * network.classes)),
               result.layers);
  }
  for (LayerReport& report : result.layers)
    if (report.cycles > 0)
      report.utilization = static_cast<double>(report.macs) / static_cast<double>(report.cycles) /
                           (static_cast<double>(chip.array.rows) * chip.array.cols);
  result.predicted = predict(result.logits);
  return result;
}

std::vector<std::int32_t> float_predictions(const Network& network, const Parameters& parameters,
                                            const ImageSet& images, common::ThreadPool* pool) {
  const std::int64_t batch_size = float_batch(network);
  const FeatureShape shape = network.input_shape();
  std::vector<std::int32_t> predicted;
  for (std::int64_t begin = 0; begin < images.size(); begin += batch_size) {
    const std::int64_t count = std::min(batch_size, images.size() - begin);
    Tensor<float> batch({count, shape.channels, shape.height, shape.width});
    normalize(images, begin, count, network.input, batch.data);
    const std::vector<std::int32_t> part = predict(float_forward(network, parameters, batch, {}, pool));
    predicted.insert(predicted.end(), part.begin(), part.end());
  }
  return predicted;
}

double accuracy(const std::vector<std::int32_t>& predicted, const std::vector<std::int32_t>& labels) {
  if (predicted.size() != labels.size() || labels.empty())
    throw std::invalid_argument("accuracy: as many predictions as labels are needed, at least one");
  std::int64_t right = 0;
  for (std::size_t i = 0; i < labels.size(); ++i) right += predicted[i] == labels[i];
  return static_cast<double>(right) / static_cast<double>(labels.size());
}

std::string layers_csv(const std::vector<LayerReport>& layers) {
  std::string text = "layer,m,k,n,tiles,cycles,stall_cycles,macs,utilization,mapped_fault_rate\n";
  for (const LayerReport& l : layers)
    text += fmt::format("{},{},{},{},{},{},{},{},{},{}\n", common::csv_cell(l.layer), l.m, l.k, l.n, l.tiles,
                        l.cycles, l.stall_cycles, l.macs, common::format_number(l.utilization),
                        common::format_number(l.mapped_fault_rate));
  return text;
}

}  // namespace kintsugi::workloads

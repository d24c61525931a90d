#include "workloads/inference.h"

#include <fmt/format.h>

#include <algorithm>
#include <stdexcept>

#include "common/csv.h"
#include "common/diagnostics.h"
#include "common/text.h"
#include "workloads/float_forward.h"
#include "workloads/pooling.h"
#include "workloads/pruning_mask.h"

namespace kintsugi::workloads {

namespace {

using array::DeviceAddress;

// Where a stage's operands stand in device memory. Every stage has its own input and output, so that all
// intermediate results can be read afterwards.
struct StagePlace {
  DeviceAddress weights = 0, table = 0, input = 0, output = 0;
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
      launch(s, count, reports[s]);
      if (s + 1 < network_.stages.size())
        pass_on(s, count);
      else
        finish(s, count, logits);
    }
  }

 private:
  bool requantised(std::size_t s) const { return !deployed_.stages[s].requantization.empty(); }
  // The next stage reads the map as one vector, in the order C, H, W.
  bool flattened_after(std::size_t s) const {
    const FeatureShape& out = network_.stages[s].out;
    return network_.stages[s + 1].in.channels != out.channels && out.height * out.width > 1;
  }

  void place(std::int64_t batch) {
    DeviceAddress next = 0;
    const auto take = [&](std::int64_t bytes) {
      const DeviceAddress at = next;
      next += (static_cast<DeviceAddress>(bytes) + 63) / 64 * 64;
      return at;
    };
    for (std::size_t s = 0; s < network_.stages.size(); ++s) {
      const array::LayerShape shape = network_.stages[s].layer_shape(batch);
      StagePlace at;
      at.weights = take(shape.weight_bytes());
      at.table = take(shape.out_c * static_cast<std::int64_t>(sizeof(array::Requantization)));
      at.input = take(shape.activation_bytes());
      at.output = take(shape.outputs() * (requantised(s) ? 1 : 4));
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
    device_.data_to_device(places_[0].input, array::as_device_bytes(std::span(codes_)));
    input_ = places_[0].input;
  }

  void launch(std::size_t s, std::int64_t count, LayerReport& report) {
    array::LayerLaunch launch;
    launch.shape = network_.stages[s].layer_shape(count);
    launch.activations = input_;
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
    if (observe_) {
      raw_.resize(static_cast<std::size_t>(launch.shape.outputs()) * (requantised(s) ? 1 : 4));
      device_.data_from_device(places_[s].output, raw_);
      observe_(s, raw_);
    }
  }

  // A stage's int8 results, N, H, W, C.
  void fetch(std::size_t s, std::int64_t count) {
    codes_.resize(static_cast<std::size_t>(count * network_.stages[s].gemm_out.count()));
    device_.data_from_device(places_[s].output, std::as_writable_bytes(std::span(codes_)));
  }

  // Pools on the host and hands the result to the next stage; what needs no host work stays on the device.
  void pass_on(std::size_t s, std::int64_t count) {
    const Stage& stage = network_.stages[s];
    const bool flatten = flattened_after(s);
    if (!stage.max_pool && !stage.global_avg_pool && !flatten) {
      input_ = places_[s].output;
      return;
    }
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
    if (flatten) {
      arranged_.resize(codes_.size());
      device_.layout_recover(codes_, count, stage.out.channels, stage.out.height * stage.out.width,
                             arranged_);
      codes_.swap(arranged_);
    }
    device_.data_to_device(places_[s + 1].input, array::as_device_bytes(std::span(codes_)));
    input_ = places_[s + 1].input;
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
  DeviceAddress input_ = 0;  // of the stage to be launched
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
    const array::LayerShape shape = stage.layer_shape(batch);
    LayerReport report;
    report.layer = stage.name;
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
  constexpr std::int64_t kBatch = 250;
  const FeatureShape shape = network.input_shape();
  std::vector<std::int32_t> predicted;
  for (std::int64_t begin = 0; begin < images.size(); begin += kBatch) {
    const std::int64_t count = std::min(kBatch, images.size() - begin);
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

// Runs a deployed network on an accelerator, layer by layer, and reports what each layer cost.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "array/accelerator.h"
#include "workloads/dataset.h"
#include "workloads/deployed.h"
#include "workloads/layer_report.h"
#include "workloads/network.h"
#include "workloads/tensor.h"

namespace kintsugi::workloads {

struct InferenceResult {
  Tensor<float> logits;                 // images × classes
  std::vector<std::int32_t> predicted;  // arg-max, ties to the lowest class
  std::vector<LayerReport> layers;
};

// Shown, batch after batch and stage after stage, what a stage left in device memory: int8 (N, H, W, C,
// before any pooling), or int32 accumulators for a last stage without global average.
using LayerOutputObserver = std::function<void(std::size_t stage, std::span<const std::byte> raw)>;

// Shown, batch after batch, what a stage on the chip is about to read: int8, images × in.count() (N, H, W, C;
// C, H, W if flattened). It may change that stage of the deployed network that infer() was given, and
// returns true if it did; what follows then sees results of the changed stage.
using StageRewriter = std::function<bool(std::size_t stage, std::span<const std::int8_t> input)>;

// All images of the set, `batch` at a time. Faults must be loaded; `faults` is used for mapped rates only.
// Throws common::InputError if the device's memory cannot hold the network at this batch size.
InferenceResult infer(array::Accelerator& accelerator, const Network& network,
                      const DeployedNetwork& deployed, const ImageSet& images, std::int64_t batch,
                      const faults::ArrayFaults& faults, const LayerOutputObserver& observe = {},
                      const LayerHooks& hooks = {}, const StageRewriter& rewrite = {});

// Predictions of the float network.
std::vector<std::int32_t> float_predictions(const Network& network, const Parameters& parameters,
                                            const ImageSet& images, common::ThreadPool* pool = nullptr);

// Share of equal entries.
double accuracy(const std::vector<std::int32_t>& predicted, const std::vector<std::int32_t>& labels);

}  // namespace kintsugi::workloads

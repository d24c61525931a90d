// A network as the chip runs it: int8 weights, requantisation tables, scales, bypass bits. What
// deployed.safetensors holds.
//
// Symmetric int8 (−127 … 127), zero point 0. Weight scale per output channel: max|w|/127 after masking (1 if
// all zero). Activation scales per stage input. Batch-norm is folded into multiplier and offset.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "array/requantize.h"
#include "configs/campaign.h"
#include "faults/array_faults.h"
#include "workloads/dataset.h"
#include "workloads/network.h"
#include "workloads/placement.h"
#include "workloads/residual_add.h"
#include "workloads/tensor.h"

namespace kintsugi::common {
class ThreadPool;
}

namespace kintsugi::workloads {

// input[s] is the scale of stage s's int8 input; what a stage puts out has the next stage's input scale.
// before_average[s] is the scale of stage s's int8 results that a global average sums (0 where there is
// none). second_input[s] is the scale of an add's second input (0 elsewhere; may be empty for a chain). All
// readers of a result have seen the same values, so they agree about its scale.
struct ActivationScales {
  std::vector<float> input;
  std::vector<float> before_average;
  std::vector<float> second_input = {};
  friend bool operator==(const ActivationScales&, const ActivationScales&) = default;
};

// The scale of what stage s hands to its readers: theirs. The last stage has none (std::invalid_argument).
double scale_of_result(const Network& network, const ActivationScales& scales, std::size_t s);
// The scale of stage s's int8 outputs, before any pooling.
double scale_of_outputs(const Network& network, const ActivationScales& scales, std::size_t s);

// From the float network's activations over `images` (the first config.images of them are used).
ActivationScales calibrate(const Network& network, const Parameters& parameters, const ImageSet& images,
                           const configs::QuantizationConfig& config, common::ThreadPool* pool = nullptr);

struct DeployedStage {
  Tensor<std::int8_t> weight;  // PyTorch layout; empty for stages on the host
  float input_scale = 1;
  std::vector<array::Requantization> requantization;  // out_c records; empty for a last stage read as int32
  // A last stage without global average: logit[c] = acc · output_scale[c] + output_bias[c].
  std::vector<float> output_scale;
  std::vector<float> output_bias;
  // A global average: int32 sum of the stage's int8 results, then requantised, or (last stage) multiplied by
  // output_scale[0].
  std::optional<array::Requantization> average;
  std::optional<array::ResidualAdd> add;  // of an add
  std::optional<float> result_scale;      // of a local response normalisation: of its int8 results
};

struct DeployedNetwork {
  std::vector<DeployedStage> stages;
  std::vector<std::uint8_t> bypass;  // rows·cols of the chip it was made for; empty: none recorded
  int rows = 0, cols = 0;
};

// Quantises. `masks` (may be empty) zero weights before scales are taken. Throws common::InputError if a
// multiplier, offset or shift leaves its range, naming the channel.
DeployedNetwork deploy(const Network& network, const Parameters& parameters, const ActivationScales& scales,
                       const Masks& masks = {});

// One stage of it. Parameters and scales must be the network's, which deploy() checks.
DeployedStage deploy_stage(const Network& network, const Parameters& parameters,
                           const ActivationScales& scales, const Masks& masks, std::size_t s);

// Per-output-channel scales and int8 weights of one stage, as deploy() makes them; the trainer uses it.
// weight: PyTorch layout, already masked. `pool` may be null.
void quantize_weight(const Tensor<float>& weight, std::vector<float>& scales, Tensor<std::int8_t>& quantized,
                     common::ThreadPool* pool = nullptr);

// The device's K×N matrices (see array::LayerShape) from a weight in PyTorch layout.
std::vector<std::int8_t> device_weight(const Stage& stage, const Tensor<std::int8_t>& weight);
// The same into memory that is kept between calls.
void device_weight(const Stage& stage, const Tensor<std::int8_t>& weight, std::vector<std::int8_t>& device,
                   common::ThreadPool* pool = nullptr);

// `placement`: if `network` is placed, how; it is written as "<stage>.slot_of".
void write_deployed(const std::filesystem::path& file, const Network& network,
                    const DeployedNetwork& deployed, const Placement* placement = nullptr);
// Throws InputError: not a deployed file, another network's, out-of-range numbers, non-zero zero points. If
// the file holds a placement, `network` must be the network as placed.
DeployedNetwork read_deployed(const std::filesystem::path& file, const Network& network);
// How the network, as written, is placed in a deployed file; absent if nothing says so. Throws InputError if
// that is not a placement of this network.
std::optional<Placement> read_placement(const std::filesystem::path& file, const Network& network);
// True if the file's metadata says it is a deployed network (as opposed to float weights).
bool is_deployed(const std::filesystem::path& file);

}  // namespace kintsugi::workloads

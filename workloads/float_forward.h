// Float inference on the host (batch-norm in evaluation mode): the reference for accuracy, and the source of
// activation ranges.
#pragma once

#include <functional>
#include <span>

#include "workloads/dataset.h"
#include "workloads/network.h"
#include "workloads/tensor.h"

namespace kintsugi::common {
class ThreadPool;
}

namespace kintsugi::workloads {

// Throws common::InputError naming `source` if a parameter is missing, superfluous or of the wrong shape
// (all are listed); num_batches_tracked is ignored.
void check_parameters(const Network& network, const Parameters& parameters, const std::string& source);

// Kaiming-uniform weights and zero-mean biases as PyTorch's default initialisation, from stream
// (seed, "initial-weights", stage).
Parameters initial_parameters(const Network& network, std::uint64_t seed);

// Weights for runs that count cycles and bits only: He-uniform (bound √(6/fan_in)), so that activations keep
// their range through deep networks; biases and batch-norm as initial_parameters.
Parameters random_weights(const Network& network, std::uint64_t seed);

// Images that float_forward is best given at once: at most 250, fewer where maps are large.
std::int64_t float_batch(const Network& network);

// What an observer is shown: a stage's input (batch × in.count(), N, C, H, W; before the stage runs), an
// add's second input, or, for a stage with a global average only, what that average sums (batch ×
// gemm_out.count(), after batch-norm and ReLU).
enum class Observed { input, second_input, before_average };
using StageInputObserver = std::function<void(std::size_t s, std::span<const float> values, Observed what)>;

// input: batch×C×H×W, normalised. Returns logits, batch×classes.
Tensor<float> float_forward(const Network& network, const Parameters& parameters, const Tensor<float>& input,
                            const StageInputObserver& observe = {}, common::ThreadPool* pool = nullptr);

// The same over a whole set, float_batch images at a time: images × classes. The observer is shown each batch
// in turn; its values hold as many images as their size says.
Tensor<float> float_logits(const Network& network, const Parameters& parameters, const ImageSet& images,
                           const StageInputObserver& observe = {}, common::ThreadPool* pool = nullptr);

}  // namespace kintsugi::workloads

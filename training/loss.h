// Softmax cross-entropy and its gradient.
#pragma once

#include <cstdint>
#include <span>

namespace kintsugi::training {

// logits: images × classes. Returns the sum over images of −log softmax(logits)[label]; dlogits receives
// (softmax − one-hot) · `weight` (1 / batch size for a mean loss). Computed in double precision.
double softmax_cross_entropy(const float* logits, std::span<const std::int32_t> labels, std::int64_t classes,
                             double weight, float* dlogits);

// The same where the classes are some of a last stage's outputs: logits and dlogits are images × `outputs`,
// class c stands at slots[c], and gradients of other outputs are zero.
double softmax_cross_entropy(const float* logits, std::span<const std::int32_t> labels, std::int64_t outputs,
                             std::span<const std::int32_t> slots, double weight, float* dlogits);

}  // namespace kintsugi::training

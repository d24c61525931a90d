#include "training/loss.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace kintsugi::training {

double softmax_cross_entropy(const float* logits, std::span<const std::int32_t> labels, std::int64_t classes,
                             double weight, float* dlogits) {
  double loss = 0;
  std::vector<double> power(classes);
  for (std::size_t i = 0; i < labels.size(); ++i) {
    const float* const row = logits + static_cast<std::int64_t>(i) * classes;
    float* const gradient = dlogits + static_cast<std::int64_t>(i) * classes;
    const double top = *std::max_element(row, row + classes);
    double sum = 0;
    for (std::int64_t c = 0; c < classes; ++c) sum += power[c] = std::exp(row[c] - top);
    loss += std::log(sum) - (row[labels[i]] - top);
    for (std::int64_t c = 0; c < classes; ++c) {
      gradient[c] = static_cast<float>((power[c] / sum - (c == labels[i] ? 1.0 : 0.0)) * weight);
    }
  }
  return loss;
}

double softmax_cross_entropy(const float* logits, std::span<const std::int32_t> labels, std::int64_t outputs,
                             std::span<const std::int32_t> slots, double weight, float* dlogits) {
  const std::size_t classes = slots.size();
  std::vector<float> picked(labels.size() * classes), gradients(picked.size());
  for (std::size_t i = 0; i < labels.size(); ++i)
    for (std::size_t c = 0; c < classes; ++c)
      picked[i * classes + c] = logits[static_cast<std::int64_t>(i) * outputs + slots[c]];
  const double loss = softmax_cross_entropy(picked.data(), labels, static_cast<std::int64_t>(classes), weight,
                                            gradients.data());
  std::fill_n(dlogits, static_cast<std::int64_t>(labels.size()) * outputs, 0.f);
  for (std::size_t i = 0; i < labels.size(); ++i)
    for (std::size_t c = 0; c < classes; ++c)
      dlogits[static_cast<std::int64_t>(i) * outputs + slots[c]] = gradients[i * classes + c];
  return loss;
}

}  // namespace kintsugi::training

#include "training/reduce/predictors.h"

#include <cstdint>

namespace kintsugi::training::reduce {

Predictors pruned_shares(const workloads::Network& network, const workloads::Parameters& original,
                         const workloads::Masks& masks) {
  Predictors shares;
  std::int64_t weights = 0, pruned = 0, layers = 0;
  for (const workloads::Stage& stage : network.stages) {
    const auto found = masks.find(stage.name + ".weight");
    if (found == masks.end()) continue;
    const std::vector<std::uint8_t>& mask = found->second.data;
    const std::vector<float>& weight = original.at(stage.name + ".weight").data;
    double all = 0, lost = 0;
    for (std::size_t i = 0; i < mask.size(); ++i) {
      const double square = static_cast<double>(weight[i]) * weight[i];
      all += square;
      if (mask[i] == 0) {
        ++pruned;
        lost += square;
      }
    }
    weights += static_cast<std::int64_t>(mask.size());
    ++layers;
    if (all > 0) shares.pruned_saliency += lost / all;
  }
  if (weights > 0) shares.mapped_fault_rate = static_cast<double>(pruned) / static_cast<double>(weights);
  if (layers > 0) shares.pruned_saliency /= static_cast<double>(layers);
  return shares;
}

}  // namespace kintsugi::training::reduce

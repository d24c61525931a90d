// Stochastic gradient descent with momentum and weight decay, as torch.optim.SGD: g += λ w; v = μ v + g;
// w −= η v, for every trainable parameter. Masked weights stay exactly zero.
#pragma once

#include "configs/campaign.h"
#include "workloads/tensor.h"

namespace kintsugi::common {
class ThreadPool;
}

namespace kintsugi::training {

class Sgd {
 public:
  // One momentum per tensor of `shapes` (only its shapes are read), starting at 0.
  Sgd(const configs::SgdConfig& config, const workloads::Parameters& shapes);

  // gradients: what the optimiser was built for. A gradient with a mask is zeroed where the mask is 0.
  void step(workloads::Parameters& parameters, const workloads::Parameters& gradients,
            const workloads::Masks& masks, double learning_rate, common::ThreadPool& pool);

  const workloads::Parameters& momentum() const { return momentum_; }
  workloads::Parameters& momentum() { return momentum_; }

 private:
  float momentum_factor_, weight_decay_;
  workloads::Parameters momentum_;
};

}  // namespace kintsugi::training

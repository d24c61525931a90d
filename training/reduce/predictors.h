// Quantities that tell, before any retraining, how much of it a chip will need.
#pragma once

#include "training/reduce/plan.h"
#include "workloads/network.h"
#include "workloads/tensor.h"

namespace kintsugi::training::reduce {

// What pruning takes away: `masks` (0 where a weight is pruned) and `original` parameters, both in the order
// of `network` as it was written. The loss is the caller's.
Predictors pruned_shares(const workloads::Network& network, const workloads::Parameters& original,
                         const workloads::Masks& masks);

}  // namespace kintsugi::training::reduce

// Which weights a bypassed PE prunes: the map from array positions to parameters.
#pragma once

#include "configs/chip.h"
#include "faults/array_faults.h"
#include "workloads/network.h"
#include "workloads/tensor.h"

namespace kintsugi::workloads {

// 0 where the weight's PE is bypassed, for every "<stage>.weight"; shapes are the parameters' own. Follows
// array::make_tiling, so both convolution mappings are covered.
Masks pruning_masks(const Network& network, const faults::ArrayFaults& faults,
                    const configs::ChipConfig& chip);

// Share of a stage's weights on bypassed PEs (the mapped fault rate); 0 for a stage on the host.
double mapped_fault_rate(const Stage& stage, const faults::ArrayFaults& faults,
                         const configs::ChipConfig& chip);

// Weights times masks, in place; parameters without a mask are left.
void apply_masks(Parameters& parameters, const Masks& masks);

}  // namespace kintsugi::workloads

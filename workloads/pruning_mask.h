// Which weights a bypassed PE prunes: the map from array positions to parameters.
#pragma once

#include <cstdint>
#include <vector>

#include "configs/chip.h"
#include "faults/array_faults.h"
#include "faults/unbypassable.h"
#include "workloads/network.h"
#include "workloads/tensor.h"

namespace kintsugi::workloads {

// 0 where the weight's PE is bypassed, for every "<stage>.weight"; shapes are the parameters' own. Follows
// array::make_tiling, so both convolution mappings are covered.
Masks pruning_masks(const Network& network, const faults::ArrayFaults& faults,
                    const configs::ChipConfig& chip);

// Which channels of each stage's result nobody may use, because a spoiled column computes them or because
// they are made from one that is lost: 1 by channel. By stage, in the network's (placed) order.
using LostChannels = std::vector<std::vector<std::uint8_t>>;
LostChannels lost_channels(const Network& network, const faults::Unbypassable& unbypassable);

// The same masks for a chip with faults that its bypass does not hide: also 0 where a weight's column is
// spoiled, where its PE reads a spoiled activation, and where the weight would multiply a lost channel. With
// these weights zero the chip computes what a fault-free one does, but for lost channels.
Masks pruning_masks(const Network& network, const faults::ArrayFaults& faults,
                    const configs::ChipConfig& chip, const faults::Unbypassable& unbypassable);

// Share of a stage's weights on bypassed PEs (the mapped fault rate); 0 for a stage on the host.
double mapped_fault_rate(const Stage& stage, const faults::ArrayFaults& faults,
                         const configs::ChipConfig& chip);

// Weights times masks, in place; parameters without a mask are left.
void apply_masks(Parameters& parameters, const Masks& masks);

}  // namespace kintsugi::workloads

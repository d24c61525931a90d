// Small networks, chips and placements that repair is tested on.
#pragma once

#include <algorithm>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "common/random.h"
#include "configs/chip.h"
#include "faults/array_faults.h"
#include "tests/support/small_networks.h"
#include "workloads/placement.h"

namespace kintsugi::testing {

inline configs::ChipConfig small_chip(configs::ConvolutionMapping mapping, int rows = 7, int cols = 9) {
  configs::ChipConfig chip;
  chip.array.rows = rows;
  chip.array.cols = cols;
  chip.convolution = mapping;
  return chip;
}

inline faults::ArrayFaults random_bypass(const configs::ChipConfig& chip, double rate, std::uint64_t seed) {
  faults::ArrayFaults faults = faults::fault_free(chip.array.rows, chip.array.cols);
  common::RandomStream random(seed, "test-bypass");
  for (auto& bit : faults.bypass) bit = random.uniform(0, 1) < rate ? 1 : 0;
  return faults;
}

inline std::vector<std::pair<std::string, workloads::Network>> networks() {
  return {
      {"conv, flatten, linear", network_of(3, 9, 8,
                                           {conv("c1", 6, 3, 1, 1), batch_norm("bn1"), relu(), max_pool(2, 2),
                                            conv("c2", 4, 3, 2, 1, 1, false), batch_norm("bn2"), flatten(),
                                            linear("f1", 7), relu(), linear("f2", 4)})},
      {"groups and response normalisation",
       network_of(3, 8, 8,
                  {conv("c1", 6, 3, 1, 1), relu(), response_norm("n", 3, 0.1), conv("c2", 8, 3, 1, 1, 2),
                   relu(), conv("c3", 5, 1), global_average(), flatten(), linear("f", 3)})},
      {"residual, ends in a global average",
       network_of(2, 7, 7,
                  {conv("c1", 5, 3, 1, 1), named(relu(), "r"), conv("a1", 5, 3, 1, 1), batch_norm("b"),
                   relu(), conv("a2", 5, 3, 1, 1), add("a", "a2", "r"), named(relu(), "ar"), conv("c2", 3, 1),
                   relu(), global_average()})}};
}

// A random one that its channel groups allow, with empty slots.
inline workloads::Placement random_placement(const workloads::Network& network, std::uint64_t seed) {
  common::RandomStream random(seed, "test-placement");
  workloads::Placement placement = workloads::identity_placement(network);
  for (const workloads::ChannelGroup& group : workloads::channel_groups(network)) {
    if (group.fixed) continue;
    const std::int64_t channels = network.stages[group.stages.front()].gemm_out.channels;
    const auto slots = channels + static_cast<std::int64_t>(random.below(4));
    std::vector<std::int32_t> order(static_cast<std::size_t>(slots));
    std::iota(order.begin(), order.end(), 0);
    for (std::size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[random.below(i)]);
    order.resize(static_cast<std::size_t>(channels));
    for (const std::size_t s : group.stages) placement.stages[s] = {slots, order};
  }
  return placement;
}

}  // namespace kintsugi::testing

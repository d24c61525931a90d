// One 2×2 image through a 1×1 convolution with weights +1 and −1, ReLU, 2×2 max-pool and a linear layer:
// small enough to work out by hand where gradients go.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <vector>

#include "common/thread_pool.h"
#include "tests/support/small_networks.h"
#include "training/batch_pass.h"

namespace kintsugi::testing {

// The image is [12.7, 2.54, 5.08, 10.16], as int8 with scale 0.1: 127, 25, 51, 102; largest at 0. Weights are
// quantised to ±127.
struct RoutingScene {
  workloads::Network network =
      network_of(1, 2, 2, {conv("c", 2, 1), relu(), max_pool(2, 2), flatten(), linear("fc", 2)});
  workloads::Parameters parameters{{"c.weight", {{2, 1, 1, 1}, {1, -1}}},
                                   {"c.bias", {{2}, {0, 0}}},
                                   {"fc.weight", {{2, 2}, {0.02F, -0.012F, -0.03F, 0.04F}}},
                                   {"fc.bias", {{2}, {0, 0}}}};
  common::ThreadPool pool{1};
  const std::vector<float> x{12.7F, 2.54F, 5.08F, 10.16F};
  const std::vector<std::int32_t> labels{1};

  training::BatchPass run(std::optional<training::ChipInTheLoop> chip) {
    training::BatchPass pass(network, 1, pool, chip);
    std::copy(x.begin(), x.end(), pass.input().begin());
    pass.run(parameters, labels, {0, "t", 0});
    return pass;
  }
};

}  // namespace kintsugi::testing

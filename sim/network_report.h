// What `kintsugi network show` says about a network on a chip, before anything runs.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "configs/chip.h"
#include "workloads/network.h"

namespace kintsugi::sim {

// One stage, for one image. Stages on the host or the activation unit have no GEMM: m, k, n, groups and tiles
// are 0.
struct NetworkLayer {
  std::string name, type;
  workloads::FeatureShape in, out, pooled;  // pooled: as the next stage reads it, before any flatten
  std::int64_t parameters = 0, macs = 0, neurons = 0;
  std::int64_t m = 0, k = 0, n = 0, groups = 0;  // GEMM of one group
  std::int64_t tiles = 0;                        // of all groups
  bool on_activation_unit = false;
};

std::vector<NetworkLayer> network_layers(const workloads::Network& network, const configs::ChipConfig& chip);

// At most 100 columns wide for names of up to 24 characters (longer ones are shortened).
std::string network_table(const workloads::Network& network, const configs::ChipConfig& chip, bool colours);
// layer,type,in_channels,… one line per stage.
std::string network_csv(const workloads::Network& network, const configs::ChipConfig& chip);
// Totals.
std::string network_summary(const workloads::Network& network, const configs::ChipConfig& chip);

}  // namespace kintsugi::sim

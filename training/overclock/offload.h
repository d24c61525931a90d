// What protecting a layer costs: its operands cross the link to the host, the host computes it, its results
// come back, and the array waits.
#pragma once

#include <cstdint>

#include "configs/overclock.h"
#include "workloads/network.h"

namespace kintsugi::training::overclock {

// Of one job of `batch` images.
struct Offload {
  std::int64_t bytes = 0;      // across the link
  std::int64_t transfers = 0;  // each with the link's latency
  std::int64_t macs = 0;       // on the host
  double transfer_s = 0;
  double host_s = 0;
  double seconds() const { return transfer_s + host_s; }
};

// The layer's int8 input comes from the chip unless it is the image, which the host has; its int8 results
// (after pooling) go back unless it is the last layer, whose results the host wants. Weights lie with the
// host. Transfers, host and chip do not overlap. seconds = Σ (latency + bytes / bandwidth) + MACs / rate.
Offload offload_cost(const workloads::Network& network, std::size_t stage, std::int64_t batch,
                     const configs::HostConfig& host);

}  // namespace kintsugi::training::overclock

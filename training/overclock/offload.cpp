#include "training/overclock/offload.h"

namespace kintsugi::training::overclock {

Offload offload_cost(const workloads::Network& network, std::size_t stage, std::int64_t batch,
                     const configs::HostConfig& host) {
  const workloads::Stage& layer = network.stages.at(stage);
  Offload cost;
  const auto transfer = [&](std::int64_t values) {
    cost.bytes += batch * values;
    ++cost.transfers;
  };
  if (layer.inputs.front() != workloads::kImage) transfer(layer.in.count());
  if (stage + 1 < network.stages.size()) transfer(layer.out.count());
  cost.macs = batch * layer.macs();
  cost.transfer_s = static_cast<double>(cost.transfers) * host.link_latency_us * 1e-6 +
                    static_cast<double>(cost.bytes) / (host.link_gb_per_s * 1e9);
  cost.host_s = static_cast<double>(cost.macs) / (host.gmac_per_s * 1e9);
  return cost;
}

}  // namespace kintsugi::training::overclock

#include "workloads/placement.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <set>
#include <stdexcept>

#include "common/diagnostics.h"

namespace kintsugi::workloads {
namespace {

Axis identity_axis(std::int64_t count) {
  Axis axis{count, std::vector<std::int64_t>(static_cast<std::size_t>(count))};
  std::iota(axis.at.begin(), axis.at.end(), 0);
  return axis;
}

Axis output_axis(const ChannelPlacement& placement) {
  return {placement.slots, {placement.slot_of.begin(), placement.slot_of.end()}};
}

// Copies values of an O×I×… tensor between the original's order and the placed one's.
template <bool kBack>
Tensor<float> move_weight(const Tensor<float>& weight, const Axis& outputs, const Axis& inputs) {
  Tensor<float> result;
  result.shape = weight.shape;
  result.shape[0] = kBack ? static_cast<std::int64_t>(outputs.at.size()) : outputs.count;
  result.shape[1] = kBack ? static_cast<std::int64_t>(inputs.at.size()) : inputs.count;
  std::int64_t window = 1;
  for (std::size_t d = 2; d < weight.shape.size(); ++d) window *= weight.shape[d];
  result.data.assign(static_cast<std::size_t>(result.count()), 0);
  for (std::size_t o = 0; o < outputs.at.size(); ++o)
    for (std::size_t i = 0; i < inputs.at.size(); ++i) {
      const std::int64_t there = (outputs.at[o] * inputs.count + inputs.at[i]) * window;
      const auto here = static_cast<std::int64_t>(o * inputs.at.size() + i) * window;
      std::copy_n(weight.data.begin() + (kBack ? there : here), window,
                  result.data.begin() + (kBack ? here : there));
    }
  return result;
}

template <bool kBack>
Tensor<float> move_channels(const Tensor<float>& values, const Axis& outputs, float empty) {
  Tensor<float> result(
      std::vector<std::int64_t>{kBack ? static_cast<std::int64_t>(outputs.at.size()) : outputs.count});
  std::fill(result.data.begin(), result.data.end(), empty);
  for (std::size_t o = 0; o < outputs.at.size(); ++o)
    (kBack ? result.data[o] : result.data[outputs.at[o]]) =
        kBack ? values.data[outputs.at[o]] : values.data[o];
  return result;
}

template <bool kBack>
Parameters move(const Network& network, const Parameters& parameters, const Placement& placement) {
  Parameters result = parameters;
  const auto channels = [&](const std::string& name, const Axis& axis, float empty) {
    const auto found = result.find(name);
    if (found != result.end()) found->second = move_channels<kBack>(found->second, axis, empty);
  };
  for (std::size_t s = 0; s < network.stages.size(); ++s) {
    const Stage& stage = network.stages[s];
    if (!stage.on_chip()) continue;
    const Axis outputs = output_axis(placement.stages[s]);
    // Of a grouped convolution the weight's second axis is a group's inputs, which stay where they are.
    const Axis inputs = stage.groups > 1 ? identity_axis(stage.in.channels / stage.groups)
                                         : input_axis(network, placement, s);
    const auto weight = result.find(stage.name + ".weight");
    if (weight == result.end())
      throw std::invalid_argument("place: there is no parameter " + stage.name + ".weight");
    weight->second = move_weight<kBack>(weight->second, outputs, inputs);
    channels(stage.name + ".bias", outputs, 0);
    if (!stage.batch_norm) continue;
    channels(stage.batch_norm->name + ".weight", outputs, 1);
    channels(stage.batch_norm->name + ".bias", outputs, 0);
    channels(stage.batch_norm->name + ".running_mean", outputs, 0);
    channels(stage.batch_norm->name + ".running_var", outputs, 1);
  }
  return result;
}

}  // namespace

Axis input_axis(const Network& network, const Placement& placement, std::size_t s) {
  const Stage& stage = network.stages[s];
  const int source = stage.inputs.front();
  if (source == kImage) return identity_axis(stage.in.channels);
  const Stage& from = network.stages[static_cast<std::size_t>(source)];
  const ChannelPlacement& channels = placement.stages[static_cast<std::size_t>(source)];
  if (!from.flatten) return output_axis(channels);
  const std::int64_t pixels = from.out.height * from.out.width;
  Axis axis;
  axis.count = channels.slots * pixels;
  for (const std::int32_t slot : channels.slot_of)
    for (std::int64_t pixel = 0; pixel < pixels; ++pixel) axis.at.push_back(slot * pixels + pixel);
  return axis;
}

Placement identity_placement(const Network& network) {
  Placement placement;
  for (const Stage& stage : network.stages) {
    ChannelPlacement channels;
    channels.slots = stage.gemm_out.channels;
    channels.slot_of.resize(static_cast<std::size_t>(channels.slots));
    std::iota(channels.slot_of.begin(), channels.slot_of.end(), 0);
    placement.stages.push_back(std::move(channels));
  }
  return placement;
}

bool is_identity(const Placement& placement) {
  return std::all_of(placement.stages.begin(), placement.stages.end(), [](const ChannelPlacement& channels) {
    if (channels.slots != std::ssize(channels.slot_of)) return false;
    for (std::int32_t n = 0; n < channels.slots; ++n)
      if (channels.slot_of[n] != n) return false;
    return true;
  });
}

std::vector<ChannelGroup> channel_groups(const Network& network) {
  const std::size_t stages = network.stages.size();
  std::vector<std::size_t> head(stages);
  std::iota(head.begin(), head.end(), 0);
  const auto find = [&](std::size_t s) {
    while (head[s] != s) s = head[s];
    return s;
  };
  const auto tie = [&](std::size_t a, std::size_t b) {
    a = find(a);
    b = find(b);
    head[std::max(a, b)] = std::min(a, b);
  };
  std::vector<bool> fixed(stages);
  for (std::size_t s = 0; s < stages; ++s) {
    const Stage& stage = network.stages[s];
    const bool keeps_channels = !stage.on_chip();
    const bool ordered = stage.groups > 1 || stage.kind == StageKind::local_response_norm;
    if (ordered) fixed[s] = true;
    for (const int source : stage.inputs) {
      if (source == kImage) {
        if (keeps_channels) fixed[s] = true;  // the image's channels stay
        continue;
      }
      if (ordered) fixed[static_cast<std::size_t>(source)] = true;
      if (keeps_channels) tie(s, static_cast<std::size_t>(source));
    }
  }
  std::vector<ChannelGroup> groups;
  std::vector<std::size_t> group_of(stages);
  for (std::size_t s = 0; s < stages; ++s) {
    if (find(s) == s) {
      group_of[s] = groups.size();
      groups.emplace_back();
    }
    group_of[s] = group_of[find(s)];
    groups[group_of[s]].stages.push_back(s);
    if (fixed[s]) groups[group_of[s]].fixed = true;
  }
  for (std::size_t s = 0; s < stages; ++s)
    for (const int source : network.stages[s].inputs) {
      if (source == kImage) continue;
      auto& readers = groups[group_of[static_cast<std::size_t>(source)]].readers;
      if (readers.empty() || readers.back() != s) readers.push_back(s);
    }
  return groups;
}

void check_placement(const Network& network, const Placement& placement) {
  if (placement.stages.size() != network.stages.size())
    throw common::InputError(fmt::format("the placement has {} stages, the network '{}' has {}",
                                         placement.stages.size(), network.name, network.stages.size()));
  for (std::size_t s = 0; s < network.stages.size(); ++s) {
    const Stage& stage = network.stages[s];
    const ChannelPlacement& channels = placement.stages[s];
    if (std::ssize(channels.slot_of) != stage.gemm_out.channels)
      throw common::InputError(fmt::format("the placement of layer '{}' has {} channels; the layer has {}",
                                           stage.name, channels.slot_of.size(), stage.gemm_out.channels));
    std::set<std::int32_t> taken;
    for (const std::int32_t slot : channels.slot_of) {
      if (slot < 0 || slot >= channels.slots)
        throw common::InputError(fmt::format("the placement of layer '{}' names slot {}; allowed are 0 … {}",
                                             stage.name, slot, channels.slots - 1));
      if (!taken.insert(slot).second)
        throw common::InputError(
            fmt::format("the placement of layer '{}' gives slot {} to two channels", stage.name, slot));
    }
  }
  const Placement same = identity_placement(network);
  for (const ChannelGroup& group : channel_groups(network))
    for (const std::size_t s : group.stages)
      if (!(placement.stages[s] ==
            (group.fixed ? same : placement).stages[group.fixed ? s : group.stages[0]]))
        throw common::InputError(fmt::format(
            "the placement moves layer '{}' {}", network.stages[s].name,
            group.fixed ? "whose channels have to stay where they are (the order of channels means something "
                          "to it or to a reader of its result)"
                        : fmt::format("apart from '{}', whose results it is added to or read with",
                                      network.stages[group.stages[0]].name)));
}

Network placed(const Network& network, const Placement& placement) {
  check_placement(network, placement);
  Network result = network;
  for (std::size_t s = 0; s < network.stages.size(); ++s) {
    Stage& stage = result.stages[s];
    stage.in.channels = stage.groups > 1 ? stage.in.channels : input_axis(network, placement, s).count;
    stage.gemm_out.channels = stage.out.channels = placement.stages[s].slots;
  }
  const ChannelPlacement& last = placement.stages.back();
  if (!(last == identity_placement(network).stages.back())) result.class_slots = last.slot_of;
  return result;
}

Parameters place(const Network& network, const Parameters& parameters, const Placement& placement) {
  check_placement(network, placement);
  return move<false>(network, parameters, placement);
}

Parameters take_back(const Network& network, const Parameters& parameters, const Placement& placement) {
  check_placement(network, placement);
  return move<true>(network, parameters, placement);
}

}  // namespace kintsugi::workloads

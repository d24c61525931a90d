// Where a network's channels sit on the array: a permutation of each stage's output channels over columns,
// possibly with columns left empty in between, which readers of the result follow with their rows.
//
// A placed network is an ordinary network with wider stages: a channel's parameters stand at its slot, and
// what stands at an empty slot is zero. It computes the same classes; everything that works on networks works
// on it. Slot s of a stage sits in column s mod C of the array, as output channel s would.
#pragma once

#include <cstdint>
#include <vector>

#include "workloads/network.h"
#include "workloads/tensor.h"

namespace kintsugi::workloads {

struct ChannelPlacement {
  std::int64_t slots = 0;             // at least as many as channels
  std::vector<std::int32_t> slot_of;  // by channel of the stage's result, distinct
  friend bool operator==(const ChannelPlacement&, const ChannelPlacement&) = default;
};

// By stage. Stages whose results meet (in an add) are placed alike; channel_groups() says which.
struct Placement {
  std::vector<ChannelPlacement> stages;
  friend bool operator==(const Placement&, const Placement&) = default;
};

// Every channel where it was.
Placement identity_placement(const Network& network);
bool is_identity(const Placement& placement);

// Stages whose results have to be placed alike, in order of their first stage. `fixed`: the order of channels
// means something there (grouped convolutions, local response normalisation), so they stay where they were.
struct ChannelGroup {
  std::vector<std::size_t> stages;   // whose results these are, ascending
  std::vector<std::size_t> readers;  // stages that read any of them, ascending
  bool fixed = false;
};
std::vector<ChannelGroup> channel_groups(const Network& network);

// Throws common::InputError if the placement is not one of this network (sizes, slots given twice, stages
// that must be placed alike).
void check_placement(const Network& network, const Placement& placement);

// The outputs of a stage, or what it reads, as the placed network numbers them: position `at[i]` for value i
// of the original, of `count` in all.
struct Axis {
  std::int64_t count = 0;
  std::vector<std::int64_t> at;
};
// What stage s reads, channel by channel; after a flatten value by value, in the order C, H, W. Of a grouped
// convolution all groups' channels.
Axis input_axis(const Network& network, const Placement& placement, std::size_t s);

// The network as placed; its class_slots say which outputs are the classes.
Network placed(const Network& network, const Placement& placement);
// Parameters (or masks) of `network` as `placed(network, placement)` has them, and back. At empty slots:
// zero; running variances and batch-norm weights are one.
Parameters place(const Network& network, const Parameters& parameters, const Placement& placement);
Parameters take_back(const Network& network, const Parameters& parameters, const Placement& placement);

}  // namespace kintsugi::workloads

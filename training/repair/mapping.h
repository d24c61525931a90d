// Fault-aware mapping: which column of the array each output channel is given, so that bypassed PEs prune the
// weights that matter least (SalvageDNN, Hanif and Shafique, Phil. Trans. R. Soc. A 2020). Readers of a
// result follow with their rows, so nothing is paid at run time.
//
// One group of channels at a time (workloads::channel_groups) the best assignment of channels to slots is
// exact, a least-cost flow, for the saliency that the group's own columns and its readers' rows lose; groups
// take turns until nothing is gained. Where a layer is narrower than the array and no reader needs more tiles
// for it, empty columns are used too.
#pragma once

#include "configs/campaign.h"
#include "configs/chip.h"
#include "faults/array_faults.h"
#include "workloads/dataset.h"
#include "workloads/network.h"
#include "workloads/placement.h"
#include "workloads/tensor.h"

namespace kintsugi::common {
class ThreadPool;
}

namespace kintsugi::training::repair {

// Saliency::output is the squared change of the layer's output if activations were uncorrelated.
using configs::Saliency;

// By "<stage>.weight", in the parameter's shape. `images` are read for Saliency::output only.
workloads::Parameters weight_saliency(const workloads::Network& network,
                                      const workloads::Parameters& parameters, Saliency kind,
                                      const workloads::ImageSet& images, common::ThreadPool* pool = nullptr);

struct MappingOptions {
  bool spare_columns = true;
  int sweeps = 4;  // at most, over all groups
};

struct Mapping {
  workloads::Placement placement;
  // Summed saliency of the weights on bypassed PEs, each stage's as a share of its own total, over stages:
  // where every channel was, and as mapped.
  double lost_before = 0;
  double lost_after = 0;
};

// `network` as written, not placed. A chip without bypassed PEs leaves everything where it was.
// Deterministic.
Mapping map_around_faults(const workloads::Network& network, const workloads::Parameters& saliency,
                          const faults::ArrayFaults& faults, const configs::ChipConfig& chip,
                          const MappingOptions& options = {});

}  // namespace kintsugi::training::repair

// Fault-aware mapping: which column of the array each output channel is given, so that bypassed PEs prune the
// weights that matter least (SalvageDNN, Hanif and Shafique, Phil. Trans. R. Soc. A 2020). Readers of a
// result follow with their rows, so nothing is paid at run time.
//
// One group of channels at a time (workloads::channel_groups) the best assignment of channels to slots is
// exact (assignment.h), for the saliency that the group's own columns and its readers' rows lose; groups
// take turns. Where a layer is narrower than the array and no reader needs more tiles for it, empty columns
// are used too.
//
// With `drop`, faults that the bypass does not hide are mapped around as well: no channel that matters stands
// in a spoiled column. A layer that fills the array then either loses its least salient channels there or
// gets one tile of columns more, which costs cycles.
#pragma once

#include <optional>
#include <string>

#include "configs/campaign.h"
#include "configs/chip.h"
#include "faults/array_faults.h"
#include "faults/unbypassable.h"
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

// Masks of the mapped network are then workloads::pruning_masks(…, unbypassable).
struct DropOptions {
  faults::Unbypassable unbypassable;
  double max_cycle_factor =
      1;  // of all layers on the array, for one image, by the schedule with ideal memory
};

struct MappingOptions {
  bool spare_columns = true;
  int sweeps = 2;  // over all groups; a third gains about a percent of what is lost
  std::optional<DropOptions> drop = std::nullopt;
};

// What it took to keep away from faults that the bypass does not hide.
struct Dropped {
  std::int64_t columns = 0;   // spoiled ones, of the array
  std::int64_t rows = 0;      // of the array, that hold zero weights from some column on
  std::int64_t channels = 0;  // of the network, lost because they stand in a spoiled column
  double cycle_factor = 1;
  std::string problem;  // if not empty: why such a network cannot be placed on this chip
  friend bool operator==(const Dropped&, const Dropped&) = default;
};

struct Mapping {
  workloads::Placement placement;
  // Summed saliency of the weights that are pruned, each stage's as a share of its own total, over stages:
  // where every channel was, and as mapped.
  double lost_before = 0;
  double lost_after = 0;
  std::optional<Dropped> dropped;  // with MappingOptions::drop
  double multiply_adds = 0;        // of the tables of costs; what the assignment takes comes on top
};

// `network` as written, not placed. A chip without bypassed PEs leaves everything where it was, and so does
// one around whose faults nothing can be mapped (Dropped::problem). Deterministic.
Mapping map_around_faults(const workloads::Network& network, const workloads::Parameters& saliency,
                          const faults::ArrayFaults& faults, const configs::ChipConfig& chip,
                          const MappingOptions& options = {});

}  // namespace kintsugi::training::repair

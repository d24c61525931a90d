// Layer-wise least-squares compensation: after pruning, the weights that are left make up for those that are
// lost, without labels and without gradient descent. Optimal brain surgeon (Hassibi and Stork, 1993) for a
// given set of pruned weights, layer by layer as in AdaPrune (Hubara et al., 2021).
//
// Stage by stage in the order in which they run: with X the stage's inputs as the simulated faulty chip
// produces them from its already compensated predecessors (int8, requantisation included), and Y what the
// original layer gives for the original activations, each output column's weights w and bias b minimise
//   |X w + 1 b − Y|² + λ |w − w₀|²,  w = 0 where the PE is bypassed,
// w₀ being the original weights and λ = ridge · mean(diag(XᵀX)). Batch-norm, ReLU and pooling stay as they
// are. A chip without bypassed PEs keeps its weights.
#pragma once

#include <Eigen/Dense>
#include <cstdint>
#include <map>
#include <span>
#include <utility>
#include <vector>

#include "array/accelerator.h"
#include "training/repair/least_squares.h"
#include "workloads/dataset.h"
#include "workloads/deployed.h"
#include "workloads/network.h"
#include "workloads/placement.h"
#include "workloads/tensor.h"

namespace kintsugi::common {
class ThreadPool;
}

namespace kintsugi::training::repair {

struct CompensationOptions {
  double ridge = 1e-2;
  std::int64_t positions = 8192;  // at most so many rows of X: maps are sampled at evenly spaced positions
};

struct Compensation {
  workloads::Parameters parameters;  // pruned and compensated, as placed
  double multiply_adds = 0;          // of this chip's arithmetic, the forward pass over the images included
};

// Compensates any number of chips for one trained network. What does not depend on the chip is computed once:
// what the original layers give, and everything about layers that read the image, up to each chip's own
// pruned weights.
class Compensator {
 public:
  // `network` as written, with its original parameters. All `images` are run at once. `network` and `pool`
  // (may be null) must outlive it.
  Compensator(const workloads::Network& network, workloads::Parameters parameters,
              workloads::ActivationScales scales, workloads::ImageSet images,
              const CompensationOptions& options = {}, common::ThreadPool* pool = nullptr);

  // The chip's faults must be loaded into the accelerator. `masks` are those of the network as placed; no
  // `placement`: as written. Depends on the arguments only, not on the chips before. Throws
  // common::InputError if a layer's inputs do not determine its weights.
  Compensation run(array::Accelerator& accelerator, const workloads::Masks& masks,
                   const faults::ArrayFaults& faults, const workloads::Placement* placement = nullptr);

  const workloads::Parameters& original() const { return original_; }
  const workloads::ActivationScales& scales() const { return scales_; }
  // Of what is computed once.
  double shared_multiply_adds() const { return shared_multiply_adds_; }

 private:
  friend class ChipCompensation;
  using RowMatrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

  // Which rows of a layer's im2col matrix are looked at: every `stride`-th of all positions.
  struct Sample {
    std::int64_t stride = 1, count = 0;
  };
  // A group's columns before anything is pruned. Inputs are ordered (ky, kx, channel), then a constant.
  struct Problem {
    LeastSquares shared;
    Eigen::MatrixXd start, unpruned;  // w₀ and P g: inputs × columns
  };

  Sample sample_of(const workloads::Stage& stage) const;
  void observe(std::size_t s, std::int64_t first_image, std::span<const float> values);
  Eigen::MatrixXd start_of(std::size_t s, std::int64_t group) const;
  Problem pose(std::size_t s, std::int64_t group, std::span<const std::int8_t> input,
               const workloads::Axis& axis, const std::vector<bool>& unread, double& multiply_adds) const;

  const workloads::Network& network_;
  workloads::Parameters original_;
  workloads::ActivationScales scales_;
  workloads::ImageSet images_;
  CompensationOptions options_;
  common::ThreadPool* pool_;
  std::vector<RowMatrix> wanted_;  // by stage: Y without bias, sampled positions × output channels
  std::map<std::pair<std::size_t, std::int64_t>, Problem>
      of_image_;  // by stage that reads the image, and group
  double shared_multiply_adds_ = 0;
};

}  // namespace kintsugi::training::repair

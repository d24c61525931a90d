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
#include <span>

#include "array/accelerator.h"
#include "workloads/dataset.h"
#include "workloads/deployed.h"
#include "workloads/network.h"
#include "workloads/tensor.h"

namespace kintsugi::common {
class ThreadPool;
}

namespace kintsugi::training::repair {

// One layer's problem, shared by all its output columns. The last input is the constant 1, if the layer has
// a bias to move.
struct LeastSquares {
  Eigen::MatrixXd gram;     // XᵀX + λ, inputs × inputs
  Eigen::MatrixXd inverse;  // of gram
};
// Throws common::InputError if the problem has no unique solution (no inputs vary and ridge is 0).
LeastSquares prepare_least_squares(Eigen::MatrixXd gram, double ridge, std::int64_t regularised);

// One column: the change δ of w₀ that minimises δᵀ gram δ / 2 − gᵀδ with w₀ + δ = 0 at the `pruned` inputs
// (ascending). g = Xᵀ(Y − X w₀).
Eigen::VectorXd solve_column(const LeastSquares& problem, const Eigen::VectorXd& gradient,
                             const Eigen::VectorXd& start, std::span<const int> pruned);

struct CompensationOptions {
  double ridge = 1e-2;
  std::int64_t positions = 20000;  // at most so many rows of X: maps are sampled at evenly spaced positions
};

struct Compensation {
  workloads::Parameters parameters;  // pruned and compensated
  double multiply_adds = 0;          // of the arithmetic, forward passes included
};

// `parameters` are the original ones; masks, scales and accelerator (with the chip's faults loaded) as for
// retraining. All `images` are run at once.
Compensation compensate(array::Accelerator& accelerator, const workloads::Network& network,
                        const workloads::Parameters& parameters, const workloads::Masks& masks,
                        const workloads::ActivationScales& scales, const faults::ArrayFaults& faults,
                        const workloads::ImageSet& images, const CompensationOptions& options = {},
                        common::ThreadPool* pool = nullptr);

}  // namespace kintsugi::training::repair

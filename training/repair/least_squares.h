// Ridge least squares of a layer's output columns, all on the same inputs, each with its own inputs held at
// zero.
//
// With G = XᵀX + λ and g = Xᵀ(Y − X w₀) a column's change δ minimises δᵀGδ/2 − gᵀδ, w₀ + δ = 0 where the
// column is pruned (optimal brain surgeon for a given set, Hassibi and Stork 1993). With P = G⁻¹ and F the
// pruned inputs,
//   δ = P g + P_F μ,  P_FF μ = −(w₀)_F − (P g)_F :
// one factorisation of |F| rows a column, shared by columns that are pruned alike, on top of what all share.
#pragma once

#include <Eigen/Dense>
#include <cstdint>
#include <span>
#include <vector>

namespace kintsugi::common {
class ThreadPool;
}

namespace kintsugi::training::repair {

struct LeastSquares {
  Eigen::MatrixXd gram;     // XᵀX + λ, inputs × inputs
  Eigen::MatrixXd inverse;  // of gram
};
// λ = ridge · mean of the first `regularised` diagonal elements, added to these. Of `gram` the lower triangle
// is read. Throws common::InputError if the problem has no unique solution (no inputs vary and ridge is 0).
LeastSquares prepare_least_squares(Eigen::MatrixXd gram, double ridge, std::int64_t regularised);

// The inputs at which a column is zero, ascending.
using Pruned = std::vector<int>;

// The changes δ of all columns (inputs × columns) from P g and w₀ (inputs × columns). Multiply-adds of what
// was done are added to `multiply_adds`. The same bytes for any number of threads in `pool`, which may be
// null.
Eigen::MatrixXd solve_columns(const LeastSquares& problem, const Eigen::MatrixXd& unpruned,
                              const Eigen::MatrixXd& start, std::span<const Pruned> pruned,
                              common::ThreadPool* pool, double& multiply_adds);

}  // namespace kintsugi::training::repair

#include "training/repair/least_squares.h"

#include <algorithm>
#include <map>

#include "common/diagnostics.h"
#include "common/thread_pool.h"

namespace kintsugi::training::repair {
namespace {

using Eigen::Index;
using Eigen::MatrixXd;
using Columns = std::vector<Index>;

[[noreturn]] void refuse() {
  throw common::InputError(
      "a layer cannot be compensated: its inputs do not determine its weights. Give more calibration images "
      "or a "
      "larger ridge");
}

// The lower triangle of the rows and columns `at`.
MatrixXd lower_part(const MatrixXd& matrix, const Pruned& at) {
  const Index size = std::ssize(at);
  MatrixXd part(size, size);
  for (Index c = 0; c < size; ++c) {
    const double* const from = matrix.col(at[c]).data();
    double* const to = part.col(c).data();
    for (Index r = c; r < size; ++r) to[r] = from[at[r]];
  }
  return part;
}

// `right` becomes part⁻¹ right.
void solve_in_place(MatrixXd& part, MatrixXd& right) {
  const Eigen::LLT<Eigen::Ref<MatrixXd>> factor(part);
  if (factor.info() != Eigen::Success) refuse();
  factor.solveInPlace(right);
}

// (L Lᵀ)⁻¹ by L⁻¹, block by block: a third of the work of solving for the columns of the identity, which does
// not see the zeros.
MatrixXd inverse_of(const Eigen::LLT<MatrixXd>& factor) {
  constexpr Index kBlock = 128;
  const MatrixXd& lower = factor.matrixLLT();
  const Index size = lower.rows();
  MatrixXd root = MatrixXd::Zero(size, size);  // L⁻¹
  for (Index at = 0; at < size; at += kBlock) {
    const Index count = std::min(kBlock, size - at);
    const auto corner = lower.block(at, at, count, count).triangularView<Eigen::Lower>();
    root.block(at, at, count, count) = corner.solve(MatrixXd::Identity(count, count));
    if (at == 0) continue;
    const MatrixXd before =
        lower.block(at, 0, count, at) * root.topLeftCorner(at, at).triangularView<Eigen::Lower>();
    root.block(at, 0, count, at).noalias() = -root.block(at, at, count, count) * before;
  }
  MatrixXd inverse(size, size);
  for (Index at = 0; at < size; at += kBlock) {
    const Index count = std::min(kBlock, size - at), below = size - at;
    inverse.block(at, 0, count, at + count).noalias() =
        root.block(at, at, below, count).transpose() * root.block(at, 0, below, at + count);
    inverse.block(0, at, at, count) = inverse.block(at, 0, count, at).transpose();
  }
  return inverse;
}

class ColumnSolver {
 public:
  ColumnSolver(const LeastSquares& problem, const MatrixXd& unpruned, const MatrixXd& start)
      : problem_(problem),
        start_(start),
        change_(unpruned),
        push_(MatrixXd::Zero(start.rows(), start.cols())) {}

  // All columns `of` are pruned at `at`. Writes what belongs to these columns only. Returns multiply-adds.
  double solve(const Pruned& at, const Columns& of) {
    const Index lost = std::ssize(at), inputs = start_.rows(), columns = std::ssize(of);
    if (lost == 0) return 0;
    if (2 * lost > inputs) return solve_kept(at, of);
    MatrixXd right(lost, columns);
    for (Index c = 0; c < columns; ++c)
      for (Index r = 0; r < lost; ++r) right(r, c) = -start_(at[r], of[c]) - change_(at[r], of[c]);
    MatrixXd within = lower_part(problem_.inverse, at);
    solve_in_place(within, right);
    for (Index c = 0; c < columns; ++c)
      for (Index r = 0; r < lost; ++r) push_(at[r], of[c]) = right(r, c);
    return cost(lost, columns);
  }

  // δ = P g + P μ, a block of columns at a time.
  void push(Index first, Index count) {
    change_.middleCols(first, count).noalias() += problem_.inverse * push_.middleCols(first, count);
  }

  MatrixXd take() { return std::move(change_); }

 private:
  static double cost(Index size, Index columns) {
    const auto n = static_cast<double>(size);
    return n * n * n / 6 + n * n * static_cast<double>(columns);
  }

  // Where most is pruned, the few that are kept are solved for: G_KK δ_K = g_K + G_KF (w₀)_F, and as g = G (P
  // g) the right side is the rows K of G ((P g) + (w₀)_F).
  double solve_kept(const Pruned& at, const Columns& of) {
    const Index inputs = start_.rows(), columns = std::ssize(of);
    Pruned kept;
    for (int i = 0; i < inputs; ++i)
      if (!std::binary_search(at.begin(), at.end(), i)) kept.push_back(i);
    MatrixXd source(inputs, columns);
    for (Index c = 0; c < columns; ++c) {
      source.col(c) = change_.col(of[c]);
      for (const int i : at) source(i, c) += start_(i, of[c]);
    }
    MatrixXd right(std::ssize(kept), columns);
    // G is symmetric: its columns are its rows.
    for (Index r = 0; r < right.rows(); ++r) right.row(r) = problem_.gram.col(kept[r]).transpose() * source;
    if (!kept.empty()) {
      MatrixXd within = lower_part(problem_.gram, kept);
      solve_in_place(within, right);
    }
    for (Index c = 0; c < columns; ++c) {
      change_.col(of[c]) = -start_.col(of[c]);
      for (Index r = 0; r < right.rows(); ++r) change_(kept[r], of[c]) = right(r, c);
    }
    return cost(right.rows(), columns) + static_cast<double>(right.rows() * inputs * columns);
  }

  const LeastSquares& problem_;
  const MatrixXd& start_;
  MatrixXd change_;  // P g, then δ
  MatrixXd push_;    // μ at the pruned inputs, zero elsewhere
};

void for_each(common::ThreadPool* pool, std::int64_t n, const std::function<void(std::int64_t)>& body) {
  if (pool != nullptr)
    pool->parallel_for(n, body);
  else
    for (std::int64_t i = 0; i < n; ++i) body(i);
}

}  // namespace

LeastSquares prepare_least_squares(MatrixXd gram, double ridge, std::int64_t regularised) {
  const double mean = gram.diagonal().head(regularised).mean();
  gram.diagonal().head(regularised).array() += ridge * mean;
  gram.triangularView<Eigen::StrictlyUpper>() = gram.transpose();
  const Eigen::LLT<MatrixXd> factor(gram);
  // Rounding lets some factorisations of singular matrices through.
  constexpr double kSingular = 1e-14;
  if (factor.info() != Eigen::Success || !(factor.rcond() > kSingular)) refuse();
  LeastSquares problem;
  problem.inverse = inverse_of(factor);
  problem.gram = std::move(gram);
  return problem;
}

MatrixXd solve_columns(const LeastSquares& problem, const MatrixXd& unpruned, const MatrixXd& start,
                       std::span<const Pruned> pruned, common::ThreadPool* pool, double& multiply_adds) {
  std::map<Pruned, Columns> alike;
  for (std::size_t c = 0; c < pruned.size(); ++c) alike[pruned[c]].push_back(static_cast<Index>(c));
  std::vector<const std::pair<const Pruned, Columns>*> tasks;
  for (const auto& task : alike) tasks.push_back(&task);
  ColumnSolver solver(problem, unpruned, start);
  std::vector<double> costs(tasks.size());
  for_each(pool, std::ssize(tasks),
           [&](std::int64_t t) { costs[t] = solver.solve(tasks[t]->first, tasks[t]->second); });
  // In blocks whose sizes do not depend on the number of threads.
  constexpr Index kBlock = 64;
  const Index inputs = start.rows(), columns = start.cols();
  for_each(pool, (columns + kBlock - 1) / kBlock, [&](std::int64_t block) {
    solver.push(block * kBlock, std::min(kBlock, columns - block * kBlock));
  });
  for (const double cost : costs) multiply_adds += cost;
  multiply_adds += static_cast<double>(inputs) * static_cast<double>(inputs) * static_cast<double>(columns);
  MatrixXd change = solver.take();
  for (std::size_t c = 0; c < pruned.size(); ++c)
    for (const int i : pruned[c]) change(i, static_cast<Index>(c)) = -start(i, static_cast<Index>(c));
  return change;
}

}  // namespace kintsugi::training::repair

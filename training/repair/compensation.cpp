#include "training/repair/compensation.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>

#include "common/diagnostics.h"
#include "common/thread_pool.h"
#include "workloads/float_forward.h"
#include "workloads/inference.h"
#include "workloads/pruning_mask.h"

namespace kintsugi::training::repair {
namespace {

using workloads::Network;
using workloads::Stage;
using RowMatrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

// Which rows of a layer's im2col matrix are looked at: every `stride`-th of all positions.
struct Sample {
  std::int64_t stride = 1, count = 0;
};
Sample sample_of(const Stage& stage, std::int64_t images, std::int64_t most) {
  const std::int64_t all = images * stage.gemm_out.height * stage.gemm_out.width;
  const std::int64_t stride = std::max<std::int64_t>(1, (all + most - 1) / most);
  return {stride, (all + stride - 1) / stride};
}

// Rows of the im2col matrix of one group in the order of the weight's (I, KH, KW). `at(image, channel, y, x)`
// is the map's value. With `constant`, a last column of ones.
template <class At>
RowMatrix im2col(const Stage& stage, std::int64_t group, const Sample& sample, bool constant, const At& at) {
  const std::int64_t inputs = stage.in.channels / stage.groups, window = stage.kernel;
  const std::int64_t pixels = stage.gemm_out.height * stage.gemm_out.width;
  RowMatrix matrix(sample.count, inputs * window * window + (constant ? 1 : 0));
  for (std::int64_t row = 0; row < sample.count; ++row) {
    const std::int64_t position = row * sample.stride, image = position / pixels;
    const std::int64_t oy = position % pixels / stage.gemm_out.width, ox = position % stage.gemm_out.width;
    float* out = matrix.row(row).data();
    for (std::int64_t i = 0; i < inputs; ++i)
      for (std::int64_t ky = 0; ky < window; ++ky)
        for (std::int64_t kx = 0; kx < window; ++kx) {
          const std::int64_t y = oy * stage.stride + ky - stage.padding;
          const std::int64_t x = ox * stage.stride + kx - stage.padding;
          const bool inside = y >= 0 && y < stage.in.height && x >= 0 && x < stage.in.width;
          *out++ = inside ? at(image, group * inputs + i, y, x) : 0.f;
        }
    if (constant) *out = 1;
  }
  return matrix;
}

// A constant can be added to what the layer computes: its bias, or what batch-norm subtracts.
bool moves_constant(const Stage& stage) {
  return stage.bias || stage.batch_norm.has_value();
}

class Compensator {
 public:
  Compensator(const Network& network, workloads::Parameters parameters, const workloads::Masks& masks,
              const workloads::ActivationScales& scales, const CompensationOptions& options,
              common::ThreadPool* pool)
      : network_(network), masks_(masks), scales_(scales), options_(options), pool_(pool) {
    result_.parameters = std::move(parameters);
  }

  Compensation run(array::Accelerator& accelerator, const faults::ArrayFaults& faults,
                   const workloads::ImageSet& images) {
    observe_original(images);
    workloads::apply_masks(result_.parameters, masks_);
    workloads::DeployedNetwork deployed = workloads::deploy(network_, result_.parameters, scales_, masks_);
    const workloads::StageRewriter rewrite = [&](std::size_t s, std::span<const std::int8_t> input) {
      if (!is_pruned(s) && !changed_) return false;
      changed_ = true;
      solve(s, images.size(), input);
      deployed.stages[s] = workloads::deploy_stage(network_, result_.parameters, scales_, masks_, s);
      return true;
    };
    workloads::infer(accelerator, network_, deployed, images, images.size(), faults, {}, {}, rewrite);
    for (const Stage& stage : network_.stages)
      result_.multiply_adds += 2 * static_cast<double>(stage.macs() * images.size());
    return std::move(result_);
  }

 private:
  bool is_pruned(std::size_t s) const {
    const auto& mask = masks_.at(network_.stages[s].name + ".weight").data;
    return std::find(mask.begin(), mask.end(), 0) != mask.end();
  }

  // What the original layers read: N, C, H, W.
  void observe_original(const workloads::ImageSet& images) {
    original_.resize(network_.stages.size());
    originals_ = result_.parameters;
    workloads::float_logits(
        network_, result_.parameters, images,
        [&](std::size_t s, std::span<const float> values, workloads::Observed what) {
          if (what == workloads::Observed::input)
            original_[s].insert(original_[s].end(), values.begin(), values.end());
        },
        pool_);
  }

  void solve(std::size_t s, std::int64_t images, std::span<const std::int8_t> input) {
    const Stage& stage = network_.stages[s];
    const std::int64_t channels = stage.in.channels, height = stage.in.height, width = stage.in.width;
    const Sample sample = sample_of(stage, images, options_.positions);
    const float scale = scales_.input[s];
    const std::vector<float>& original = original_[s];
    // The chip's maps are N, H, W, C; vectors are the same either way.
    const auto chip_at = [&](std::int64_t n, std::int64_t c, std::int64_t y, std::int64_t x) {
      return static_cast<float>(input[((n * height + y) * width + x) * channels + c]) * scale;
    };
    const auto original_at = [&](std::int64_t n, std::int64_t c, std::int64_t y, std::int64_t x) {
      return original[((n * channels + c) * height + y) * width + x];
    };
    for (std::int64_t group = 0; group < stage.groups; ++group)
      solve_group(s, group, im2col(stage, group, sample, moves_constant(stage), chip_at),
                  im2col(stage, group, sample, moves_constant(stage), original_at));
    original_[s] = {};
  }

  void solve_group(std::size_t s, std::int64_t group, const RowMatrix& x, const RowMatrix& reference) {
    const Stage& stage = network_.stages[s];
    const Eigen::Index inputs = x.cols(), weights = inputs - (moves_constant(stage) ? 1 : 0);
    const std::int64_t columns = stage.gemm_out.channels / stage.groups;
    // Blocks of rows in float, summed in double.
    Eigen::MatrixXd gram = Eigen::MatrixXd::Zero(inputs, inputs), cross = gram;
    constexpr Eigen::Index kRows = 512;
    for (Eigen::Index row = 0; row < x.rows(); row += kRows) {
      const Eigen::Index rows = std::min(kRows, x.rows() - row);
      const auto part = x.middleRows(row, rows);
      gram += (part.transpose() * part).cast<double>();
      cross += (part.transpose() * reference.middleRows(row, rows)).cast<double>();
    }
    const Eigen::MatrixXd plain = gram;
    const LeastSquares problem = prepare_least_squares(std::move(gram), options_.ridge, weights);
    const auto& mask = masks_.at(stage.name + ".weight").data;
    auto& weight = result_.parameters.at(stage.name + ".weight").data;
    const auto& original = originals_.at(stage.name + ".weight").data;
    float* bias = stage.bias ? result_.parameters.at(stage.name + ".bias").data.data() : nullptr;
    float* mean = bias == nullptr && stage.batch_norm
                      ? result_.parameters.at(stage.batch_norm->name + ".running_mean").data.data()
                      : nullptr;
    const auto column = [&](std::int64_t n) {
      const std::int64_t o = group * columns + n;
      Eigen::VectorXd start(inputs);
      std::vector<int> pruned;
      for (Eigen::Index i = 0; i < weights; ++i) {
        start[i] = original[o * weights + i];
        if (mask[o * weights + i] == 0) pruned.push_back(static_cast<int>(i));
      }
      if (moves_constant(stage)) start[weights] = bias != nullptr ? bias[o] : 0;
      const Eigen::VectorXd change = solve_column(problem, cross * start - plain * start, start, pruned);
      for (Eigen::Index i = 0; i < weights; ++i)
        weight[o * weights + i] = static_cast<float>(start[i] + change[i]);
      for (const int i : pruned) weight[o * weights + i] = 0;
      if (bias != nullptr) bias[o] = static_cast<float>(start[weights] + change[weights]);
      if (mean != nullptr) mean[o] -= static_cast<float>(change[weights]);
    };
    if (pool_ != nullptr)
      pool_->parallel_for(columns, column);
    else
      for (std::int64_t n = 0; n < columns; ++n) column(n);
    const auto k = static_cast<double>(inputs);
    result_.multiply_adds += 2 * static_cast<double>(x.rows()) * k * k + k * k * k;
    for (std::int64_t n = 0; n < columns; ++n) {
      const auto first = mask.begin() + (group * columns + n) * weights;
      const auto lost = static_cast<double>(std::count(first, first + weights, 0));
      result_.multiply_adds += 3 * k * k + lost * lost * lost / 3 + 2 * k * lost;
    }
  }

  const Network& network_;
  const workloads::Masks& masks_;
  const workloads::ActivationScales& scales_;
  const CompensationOptions& options_;
  common::ThreadPool* pool_;
  bool changed_ = false;  // some stage so far, so that later ones read something else
  std::vector<std::vector<float>> original_;
  workloads::Parameters originals_;
  Compensation result_;
};

}  // namespace

LeastSquares prepare_least_squares(Eigen::MatrixXd gram, double ridge, std::int64_t regularised) {
  const double mean = gram.diagonal().head(regularised).mean();
  gram.diagonal().head(regularised).array() += ridge * mean;
  const Eigen::LDLT<Eigen::MatrixXd> factors(gram);
  LeastSquares problem;
  problem.inverse = factors.solve(Eigen::MatrixXd::Identity(gram.rows(), gram.cols()));
  if (factors.info() != Eigen::Success || !problem.inverse.allFinite())
    throw common::InputError(
        "a layer cannot be compensated: its inputs do not determine its weights. Give more calibration "
        "images "
        "or a larger ridge");
  problem.gram = std::move(gram);
  return problem;
}

Eigen::VectorXd solve_column(const LeastSquares& problem, const Eigen::VectorXd& gradient,
                             const Eigen::VectorXd& start, std::span<const int> pruned) {
  const Eigen::Index inputs = gradient.size(), lost = std::ssize(pruned);
  if (lost == 0) return problem.inverse * gradient;
  Eigen::VectorXd change(inputs);
  if (2 * lost <= inputs) {
    // With P the inverse: δ = P g + P_F μ, and μ such that δ_F = −w₀_F (optimal brain surgeon).
    const std::vector<int> at(pruned.begin(), pruned.end());
    change = problem.inverse * gradient;
    const Eigen::MatrixXd within = problem.inverse(at, at);
    const Eigen::VectorXd wanted = -start(at) - change(at);
    const Eigen::VectorXd factor = within.llt().solve(wanted);
    change += problem.inverse(Eigen::all, at) * factor;
    change(at) = -start(at);
    return change;
  }
  std::vector<int> kept;
  for (int i = 0, next = 0; i < inputs; ++i) {
    if (next < lost && pruned[next] == i)
      ++next;
    else
      kept.push_back(i);
  }
  const std::vector<int> at(pruned.begin(), pruned.end());
  change(at) = -start(at);
  const Eigen::VectorXd right = gradient(kept) - problem.gram(kept, at) * change(at);
  const Eigen::MatrixXd within = problem.gram(kept, kept);
  const Eigen::VectorXd solved = within.llt().solve(right);
  change(kept) = solved;
  return change;
}

Compensation compensate(array::Accelerator& accelerator, const Network& network,
                        const workloads::Parameters& parameters, const workloads::Masks& masks,
                        const workloads::ActivationScales& scales, const faults::ArrayFaults& faults,
                        const workloads::ImageSet& images, const CompensationOptions& options,
                        common::ThreadPool* pool) {
  return Compensator(network, parameters, masks, scales, options, pool).run(accelerator, faults, images);
}

}  // namespace kintsugi::training::repair

// Compensation solves what it says, column by column, on matrices and on whole networks.
#include "training/repair/compensation.h"

#include <gtest/gtest.h>

#include <Eigen/Dense>
#include <algorithm>
#include <cmath>

#include "array/functional_accelerator.h"
#include "common/diagnostics.h"
#include "common/random.h"
#include "common/thread_pool.h"
#include "tests/support/repair_cases.h"
#include "workloads/deployed.h"
#include "workloads/float_forward.h"
#include "workloads/inference.h"
#include "workloads/placement.h"
#include "workloads/pruning_mask.h"

namespace kintsugi {
namespace {

using namespace kintsugi::testing;  // builders of small networks
using workloads::Network;
using workloads::Placement;

// |X w − y|² + λ|w − w₀|² over the inputs that are kept, dense and by another way: QR of the stacked system.
Eigen::VectorXd dense_solution(const Eigen::MatrixXd& x, const Eigen::VectorXd& y,
                               const Eigen::VectorXd& start, double lambda, Eigen::Index regularised,
                               const std::vector<int>& pruned) {
  std::vector<int> kept;
  for (int i = 0; i < x.cols(); ++i)
    if (std::find(pruned.begin(), pruned.end(), i) == pruned.end()) kept.push_back(i);
  Eigen::MatrixXd stacked = Eigen::MatrixXd::Zero(x.rows() + std::ssize(kept), std::ssize(kept));
  Eigen::VectorXd right = Eigen::VectorXd::Zero(stacked.rows());
  right.head(x.rows()) = y;
  for (std::size_t j = 0; j < kept.size(); ++j) {
    stacked.col(j).head(x.rows()) = x.col(kept[j]);
    if (kept[j] >= regularised) continue;
    stacked(x.rows() + j, j) = std::sqrt(lambda);
    right[x.rows() + j] = std::sqrt(lambda) * start[kept[j]];
  }
  const Eigen::VectorXd solution = stacked.colPivHouseholderQr().solve(right);
  Eigen::VectorXd w = Eigen::VectorXd::Zero(x.cols());
  for (std::size_t j = 0; j < kept.size(); ++j) w[kept[j]] = solution[j];
  return w;
}

TEST(Compensation, EqualsADenseSolveOfEachColumn) {
  common::RandomStream random(11, "test-least-squares");
  common::ThreadPool two(2);
  constexpr Eigen::Index kSamples = 400, kWeights = 150, kInputs = kWeights + 1;
  constexpr double kRidge = 0.03;
  Eigen::MatrixXd x(kSamples, kInputs);
  for (double& v : x.reshaped()) v = random.uniform(-1, 1);
  x.col(kWeights).setOnes();
  // Columns from unpruned to wholly pruned, and every one of them a second time: equal masks share their
  // work.
  std::vector<training::repair::Pruned> pruned;
  for (const double rate : {0.0, 0.05, 0.3, 0.5, 0.8, 1.0})
    for (int repeat = 0; repeat < 4; ++repeat) {
      pruned.emplace_back();
      for (int i = 0; i < kWeights; ++i)
        if (random.uniform(0, 1) < rate) pruned.back().push_back(i);
    }
  const std::vector<training::repair::Pruned> once = pruned;
  pruned.insert(pruned.end(), once.begin(), once.end());
  const Eigen::Index columns = std::ssize(pruned);
  Eigen::MatrixXd y(kSamples, columns), start(kInputs, columns);
  for (double& v : y.reshaped()) v = random.uniform(-1, 1);
  for (double& v : start.reshaped()) v = random.uniform(-1, 1);
  const Eigen::MatrixXd gram = x.transpose() * x;
  const double lambda = kRidge * gram.diagonal().head(kWeights).mean();
  const auto problem = training::repair::prepare_least_squares(gram, kRidge, kWeights);
  const Eigen::MatrixXd unpruned = problem.inverse * (x.transpose() * (y - x * start));
  double cost = 0, same_cost = 0;
  const Eigen::MatrixXd change =
      training::repair::solve_columns(problem, unpruned, start, pruned, nullptr, cost);
  EXPECT_EQ(change, training::repair::solve_columns(problem, unpruned, start, pruned, &two, same_cost));
  EXPECT_GT(cost, 0);
  EXPECT_EQ(cost, same_cost);
  for (Eigen::Index c = 0; c < columns; ++c) {
    SCOPED_TRACE(c);
    const Eigen::VectorXd w = start.col(c) + change.col(c);
    const Eigen::VectorXd expected = dense_solution(x, y.col(c), start.col(c), lambda, kWeights, pruned[c]);
    EXPECT_LT((w - expected).norm(), 1e-6 * std::max(1.0, expected.norm()));
    for (const int i : pruned[c]) EXPECT_EQ(w[i], 0);
  }
}

TEST(Compensation, RefusesInputsThatDetermineNothing) {
  Eigen::MatrixXd gram = Eigen::MatrixXd::Ones(4, 4);
  EXPECT_THROW(training::repair::prepare_least_squares(gram, 0, 4), common::InputError);
  EXPECT_NO_THROW(training::repair::prepare_least_squares(gram, 0.01, 4));
}

// A placed network's int8 inputs of every stage, as a chip produces them.
std::vector<std::vector<std::int8_t>> inputs_on_chip(array::Accelerator& accelerator, const Network& network,
                                                     const workloads::DeployedNetwork& deployed,
                                                     const workloads::ImageSet& images,
                                                     const faults::ArrayFaults& faults) {
  std::vector<std::vector<std::int8_t>> inputs(network.stages.size());
  workloads::infer(accelerator, network, deployed, images, images.size(), faults, {}, {},
                   [&](std::size_t s, std::span<const std::int8_t> codes) {
                     inputs[s].assign(codes.begin(), codes.end());
                     return false;
                   });
  return inputs;
}

// im2col of one group with a constant, in the weight's order (I, KH, KW). at(image, channel, y, x).
template <class At>
Eigen::MatrixXd unfolded(const workloads::Stage& stage, std::int64_t images, std::int64_t group,
                         const At& at) {
  const std::int64_t inputs = stage.in.channels / stage.groups, k = stage.kernel;
  const std::int64_t height = stage.gemm_out.height, width = stage.gemm_out.width;
  Eigen::MatrixXd x = Eigen::MatrixXd::Zero(images * height * width, inputs * k * k + 1);
  for (std::int64_t n = 0; n < images; ++n)
    for (std::int64_t oy = 0; oy < height; ++oy)
      for (std::int64_t ox = 0; ox < width; ++ox)
        for (std::int64_t i = 0; i < inputs; ++i)
          for (std::int64_t ky = 0; ky < k; ++ky)
            for (std::int64_t kx = 0; kx < k; ++kx) {
              const std::int64_t iy = oy * stage.stride + ky - stage.padding;
              const std::int64_t ix = ox * stage.stride + kx - stage.padding;
              if (iy < 0 || iy >= stage.in.height || ix < 0 || ix >= stage.in.width) continue;
              x((n * height + oy) * width + ox, (i * k + ky) * k + kx) = at(n, group * inputs + i, iy, ix);
            }
  x.rightCols(1).setOnes();
  return x;
}

// Every stage of every network, each column by a dense solve on what the repaired chip's earlier stages give.
TEST(Compensation, EqualsADenseSolveOfEachColumnOnAChip) {
  for (const auto& [name, network] : networks())
    for (const bool moved : {false, true}) {
      SCOPED_TRACE(name + (moved ? ", placed" : ""));
      const configs::ChipConfig chip = small_chip(configs::ConvolutionMapping::im2col);
      const auto original = random_parameters(network, 4);
      const auto images = random_images(20, network.input_shape(), network.classes, 4);
      const auto scales = workloads::calibrate(network, original, images, {});
      const Placement placement =
          moved ? random_placement(network, 4) : workloads::identity_placement(network);
      const Network wide = workloads::placed(network, placement);
      const auto faults = random_bypass(chip, 0.2, 4);
      const auto masks = workloads::pruning_masks(wide, faults, chip);
      array::FunctionalAccelerator accelerator(chip, nullptr, 1 << 26);
      accelerator.load_faults(faults);
      training::repair::Compensator compensator(network, original, scales, images);
      const auto compensated = compensator.run(accelerator, masks, faults, moved ? &placement : nullptr);
      EXPECT_GT(compensated.multiply_adds, 0);
      const auto deployed = workloads::deploy(wide, compensated.parameters, scales, masks);
      const auto codes = inputs_on_chip(accelerator, wide, deployed, images, faults);
      const auto repaired = workloads::take_back(network, compensated.parameters, placement);
      workloads::Parameters wide_masks;
      for (const auto& [parameter, mask] : masks) {
        wide_masks[parameter].shape = mask.shape;
        wide_masks[parameter].data.assign(mask.data.begin(), mask.data.end());
      }
      const auto kept = workloads::take_back(network, wide_masks, placement);
      std::vector<std::vector<float>> float_inputs(network.stages.size());
      workloads::float_logits(network, original, images,
                              [&](std::size_t s, std::span<const float> values, workloads::Observed what) {
                                if (what == workloads::Observed::input)
                                  float_inputs[s].insert(float_inputs[s].end(), values.begin(), values.end());
                              });
      for (std::size_t s = 0; s < network.stages.size(); ++s) {
        const workloads::Stage& stage = network.stages[s];
        if (!stage.on_chip()) continue;
        SCOPED_TRACE(stage.name);
        const workloads::Axis axis = workloads::input_axis(network, placement, s);
        const std::int64_t columns = stage.gemm_out.channels / stage.groups;
        for (std::int64_t group = 0; group < stage.groups; ++group) {
          const auto on_chip = [&](std::int64_t n, std::int64_t c, std::int64_t y, std::int64_t x) {
            return codes[s][((n * stage.in.height + y) * stage.in.width + x) * axis.count + axis.at[c]] *
                   static_cast<double>(scales.input[s]);
          };
          const auto in_float = [&](std::int64_t n, std::int64_t c, std::int64_t y, std::int64_t x) {
            return static_cast<double>(
                float_inputs[s][((n * stage.in.channels + c) * stage.in.height + y) * stage.in.width + x]);
          };
          Eigen::MatrixXd x = unfolded(stage, images.size(), group, on_chip);
          Eigen::MatrixXd wanted = unfolded(stage, images.size(), group, in_float);
          const Eigen::Index weights = x.cols() - 1;
          const bool constant = stage.bias || stage.batch_norm;
          if (!constant) {
            x = x.leftCols(weights).eval();
            wanted = wanted.leftCols(weights).eval();
          }
          const double lambda = 1e-2 * x.leftCols(weights).colwise().squaredNorm().mean();
          for (std::int64_t n = group * columns; n < (group + 1) * columns; ++n) {
            Eigen::VectorXd start = Eigen::VectorXd::Zero(x.cols()), actual = start;
            std::vector<int> pruned;
            for (Eigen::Index i = 0; i < weights; ++i) {
              start[i] = original.at(stage.name + ".weight").data[n * weights + i];
              actual[i] = repaired.at(stage.name + ".weight").data[n * weights + i];
              if (kept.at(stage.name + ".weight").data[n * weights + i] == 0)
                pruned.push_back(static_cast<int>(i));
            }
            const std::string moving = stage.bias         ? stage.name + ".bias"
                                       : stage.batch_norm ? stage.batch_norm->name + ".running_mean"
                                                          : "";
            if (constant)
              actual[weights] =
                  (stage.bias ? 1.0 : -1.0) * (repaired.at(moving).data[n] - original.at(moving).data[n]);
            const Eigen::VectorXd expected =
                dense_solution(x, wanted * start, start, lambda, weights, pruned);
            EXPECT_LT((actual - expected).norm(), 1e-6 * expected.norm());
            for (const int i : pruned) EXPECT_EQ(actual[i], 0);
          }
        }
      }
    }
}

TEST(Compensation, KeepsAFaultFreeChipAndHelpsAFaultyOne) {
  common::ThreadPool pool(1), two(2);
  for (const auto& [name, network] : networks()) {
    SCOPED_TRACE(name);
    const configs::ChipConfig chip = small_chip(configs::ConvolutionMapping::im2col);
    const auto parameters = random_parameters(network, 2);
    const auto images = random_images(200, network.input_shape(), network.classes, 2);
    const auto scales = workloads::calibrate(network, parameters, images, {});
    array::FunctionalAccelerator accelerator(chip, nullptr, 1 << 26);
    training::repair::Compensator one_thread(network, parameters, scales, images, {}, &pool);
    const auto compensate = [&](const faults::ArrayFaults& faults,
                                training::repair::Compensator& compensator) {
      accelerator.load_faults(faults);
      return compensator.run(accelerator, workloads::pruning_masks(network, faults, chip), faults).parameters;
    };
    const auto clean = faults::fault_free(7, 9);
    EXPECT_EQ(compensate(clean, one_thread), parameters);

    const auto faults = random_bypass(chip, 0.15, 2);
    const auto repaired = compensate(faults, one_thread);
    // Nothing of one chip is left for the next, and threads do not matter.
    compensate(random_bypass(chip, 0.3, 9), one_thread);
    EXPECT_EQ(repaired, compensate(faults, one_thread));
    training::repair::Compensator two_threads(network, parameters, scales, images, {}, &two);
    EXPECT_EQ(repaired, compensate(faults, two_threads));
    const auto masks = workloads::pruning_masks(network, faults, chip);
    for (const auto& [parameter, mask] : masks)
      for (std::size_t i = 0; i < mask.data.size(); ++i)
        if (mask.data[i] == 0) {
          EXPECT_EQ(repaired.at(parameter).data[i], 0);
        }
    // Nearer to the original's outputs, on images that it has not seen.
    const auto others = random_images(200, network.input_shape(), network.classes, 3);
    accelerator.load_faults(faults);
    const auto distance = [&](const workloads::Parameters& p) {
      const auto logits = workloads::infer(accelerator, network, workloads::deploy(network, p, scales, masks),
                                           others, 50, faults)
                              .logits.data;
      accelerator.load_faults(clean);
      const auto wanted = workloads::infer(accelerator, network,
                                           workloads::deploy(network, parameters, scales), others, 50, clean)
                              .logits.data;
      accelerator.load_faults(faults);
      double sum = 0;
      for (std::size_t i = 0; i < logits.size(); ++i) sum += std::pow(logits[i] - wanted[i], 2);
      return sum;
    };
    EXPECT_LT(distance(repaired), 0.5 * distance(parameters));
  }
}

}  // namespace
}  // namespace kintsugi

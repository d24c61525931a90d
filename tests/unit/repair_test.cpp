// Repair without gradient descent: placements change nothing but where weights stand, mappings are optimal,
// compensation solves what it says.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <Eigen/Dense>
#include <algorithm>
#include <numeric>

#include "array/functional_accelerator.h"
#include "common/random.h"
#include "common/thread_pool.h"
#include "tests/support/small_networks.h"
#include "training/batch_pass.h"
#include "training/repair/compensation.h"
#include "training/repair/mapping.h"
#include "workloads/deployed.h"
#include "workloads/inference.h"
#include "workloads/placement.h"
#include "workloads/pruning_mask.h"

namespace kintsugi {
namespace {

using namespace kintsugi::testing;  // builders of small networks
using training::repair::map_around_faults;
using training::repair::Mapping;
using training::repair::Saliency;
using workloads::Network;
using workloads::Placement;

configs::ChipConfig small_chip(configs::ConvolutionMapping mapping, int rows = 7, int cols = 9) {
  configs::ChipConfig chip;
  chip.array.rows = rows;
  chip.array.cols = cols;
  chip.convolution = mapping;
  return chip;
}

faults::ArrayFaults random_bypass(const configs::ChipConfig& chip, double rate, std::uint64_t seed) {
  faults::ArrayFaults faults = faults::fault_free(chip.array.rows, chip.array.cols);
  common::RandomStream random(seed, "test-bypass");
  for (auto& bit : faults.bypass) bit = random.uniform(0, 1) < rate ? 1 : 0;
  return faults;
}

std::vector<std::pair<std::string, Network>> networks() {
  return {
      {"conv, flatten, linear", network_of(3, 9, 8,
                                           {conv("c1", 6, 3, 1, 1), batch_norm("bn1"), relu(), max_pool(2, 2),
                                            conv("c2", 4, 3, 2, 1, 1, false), batch_norm("bn2"), flatten(),
                                            linear("f1", 7), relu(), linear("f2", 4)})},
      {"groups and response normalisation",
       network_of(3, 8, 8,
                  {conv("c1", 6, 3, 1, 1), relu(), response_norm("n", 3, 0.1), conv("c2", 8, 3, 1, 1, 2),
                   relu(), conv("c3", 5, 1), global_average(), flatten(), linear("f", 3)})},
      {"residual, ends in a global average",
       network_of(2, 7, 7,
                  {conv("c1", 5, 3, 1, 1), named(relu(), "r"), conv("a1", 5, 3, 1, 1), batch_norm("b"),
                   relu(), conv("a2", 5, 3, 1, 1), add("a", "a2", "r"), named(relu(), "ar"), conv("c2", 3, 1),
                   relu(), global_average()})}};
}

// A random one that its channel groups allow, with empty slots.
Placement random_placement(const Network& network, std::uint64_t seed) {
  common::RandomStream random(seed, "test-placement");
  Placement placement = workloads::identity_placement(network);
  for (const workloads::ChannelGroup& group : workloads::channel_groups(network)) {
    if (group.fixed) continue;
    const std::int64_t channels = network.stages[group.stages.front()].gemm_out.channels;
    const auto slots = channels + static_cast<std::int64_t>(random.below(4));
    std::vector<std::int32_t> order(static_cast<std::size_t>(slots));
    std::iota(order.begin(), order.end(), 0);
    for (std::size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[random.below(i)]);
    order.resize(static_cast<std::size_t>(channels));
    for (const std::size_t s : group.stages) placement.stages[s] = {slots, order};
  }
  return placement;
}

TEST(Placement, ComputesTheSameClassesInFloatAndInt8AndBack) {
  for (const auto& [name, network] : networks())
    for (std::uint64_t seed = 1; seed <= 3; ++seed) {
      SCOPED_TRACE(name + ", seed " + std::to_string(seed));
      const auto parameters = random_parameters(network, seed);
      const auto images = random_images(40, network.input_shape(), network.classes, seed);
      const Placement placement = random_placement(network, seed);
      ASSERT_FALSE(workloads::is_identity(placement));
      const Network wide = workloads::placed(network, placement);
      const auto moved = workloads::place(network, parameters, placement);
      EXPECT_EQ(workloads::take_back(network, moved, placement), parameters);

      const auto scales = workloads::calibrate(network, parameters, images, {});
      const auto wide_scales = workloads::calibrate(wide, moved, images, {});
      ASSERT_EQ(scales.input.size(), wide_scales.input.size());
      for (std::size_t s = 0; s < scales.input.size(); ++s)
        EXPECT_NEAR(scales.input[s], wide_scales.input[s], 1e-5 * scales.input[s]);

      const configs::ChipConfig chip = small_chip(configs::ConvolutionMapping::im2col);
      const auto clean = faults::fault_free(chip.array.rows, chip.array.cols);
      array::FunctionalAccelerator accelerator(chip, nullptr, 1 << 24);
      const auto logits = [&](const Network& n, const workloads::Parameters& p) {
        return workloads::infer(accelerator, n, workloads::deploy(n, p, scales), images, 16, clean).logits;
      };
      EXPECT_EQ(logits(network, parameters), logits(wide, moved));
    }
}

TEST(Placement, TrainsTheSameGradients) {
  common::ThreadPool pool(1);
  for (const auto& [name, network] : networks()) {
    SCOPED_TRACE(name);
    auto parameters = random_parameters(network, 5);
    const auto images = random_images(8, network.input_shape(), network.classes, 5);
    const Placement placement = random_placement(network, 5);
    const Network wide = workloads::placed(network, placement);
    auto moved = workloads::place(network, parameters, placement);
    const auto gradients = [&](const Network& n, workloads::Parameters& p) {
      training::BatchPass pass(n, 8, pool, std::nullopt);
      std::vector<float> pixels(pass.input().size());
      workloads::normalize(images, 0, 8, n.input, pixels);
      // The pass wants N, H, W, C for a convolution.
      const auto shape = n.input_shape();
      const std::int64_t area = shape.height * shape.width;
      for (std::int64_t i = 0; i < 8; ++i)
        for (std::int64_t c = 0; c < shape.channels; ++c)
          for (std::int64_t at = 0; at < area; ++at)
            pass.input()[(i * area + at) * shape.channels + c] = pixels[(i * shape.channels + c) * area + at];
      const double loss = pass.run(p, images.labels, {});
      return std::pair(loss, pass.gradients());
    };
    const auto [loss, expected] = gradients(network, parameters);
    const auto [wide_loss, wide_gradients] = gradients(wide, moved);
    EXPECT_NEAR(loss, wide_loss, 1e-5);
    const auto actual = workloads::take_back(network, wide_gradients, placement);
    for (const auto& [parameter, tensor] : expected) {
      ASSERT_TRUE(actual.contains(parameter));
      for (std::size_t i = 0; i < tensor.data.size(); ++i)
        EXPECT_NEAR(tensor.data[i], actual.at(parameter).data[i], 1e-4) << parameter << " " << i;
    }
  }
}

TEST(Placement, RefusesWhatIsNotOneOfTheNetwork) {
  const Network network = networks()[2].second;
  Placement placement = random_placement(network, 1);
  placement.stages[0].slot_of[1] = placement.stages[0].slot_of[0];
  EXPECT_THROW(workloads::check_placement(network, placement), common::InputError);
  placement = random_placement(network, 1);
  std::swap(placement.stages[0].slot_of[0],
            placement.stages[0].slot_of[1]);  // not so in the add's other input
  EXPECT_THROW(workloads::check_placement(network, placement), common::InputError);
}

// Saliency on bypassed PEs, by the masks that the chip gives the placed network: no code of the mapping.
double lost_by_masks(const Network& network, const workloads::Parameters& saliency,
                     const Placement& placement, const faults::ArrayFaults& faults,
                     const configs::ChipConfig& chip) {
  const Network wide = workloads::placed(network, placement);
  workloads::Parameters moved = saliency;
  for (const auto& stage : network.stages)  // place() wants all of a network's parameters
    if (stage.on_chip() && stage.bias)
      moved[stage.name + ".bias"] = workloads::Tensor<float>({stage.gemm_out.channels});
  for (const auto& stage : network.stages)
    if (stage.batch_norm)
      for (const char* what : {".weight", ".bias", ".running_mean", ".running_var"})
        moved[stage.batch_norm->name + what] = workloads::Tensor<float>({stage.gemm_out.channels});
  moved = workloads::place(network, moved, placement);
  double lost = 0;
  for (const auto& [name, mask] : workloads::pruning_masks(wide, faults, chip)) {
    double total = 0, here = 0;
    const auto& values = moved.at(name).data;
    for (std::size_t i = 0; i < values.size(); ++i) {
      total += values[i];
      if (mask.data[i] == 0) here += values[i];
    }
    lost += here / total;
  }
  return lost;
}

TEST(Mapping, CountsWhatTheMasksPruneAndLosesLess) {
  for (const auto mapping : {configs::ConvolutionMapping::im2col, configs::ConvolutionMapping::channel})
    for (const auto& [name, network] : networks())
      for (const bool spare : {false, true}) {
        SCOPED_TRACE(name);
        const configs::ChipConfig chip = small_chip(mapping);
        const auto faults = random_bypass(chip, 0.2, 3);
        const auto parameters = random_parameters(network, 3);
        const auto saliency = training::repair::weight_saliency(network, parameters, Saliency::square, {});
        const Mapping mapped = map_around_faults(network, saliency, faults, chip, {spare, 4});
        const Placement before = workloads::identity_placement(network);
        EXPECT_NEAR(mapped.lost_before, lost_by_masks(network, saliency, before, faults, chip), 1e-6);
        EXPECT_NEAR(mapped.lost_after, lost_by_masks(network, saliency, mapped.placement, faults, chip),
                    1e-6);
        EXPECT_LT(mapped.lost_after, 0.9 * mapped.lost_before);
        EXPECT_EQ(mapped.placement, map_around_faults(network, saliency, faults, chip, {spare, 4}).placement);
      }
}

TEST(Mapping, IsTheBestOfAllAssignmentsOfOneLayer) {
  const Network network = network_of(2, 3, 3, {conv("c", 4, 3, 1, 0), global_average()});
  const configs::ChipConfig chip = small_chip(configs::ConvolutionMapping::im2col, 5, 6);
  for (std::uint64_t seed = 1; seed <= 5; ++seed) {
    const auto faults = random_bypass(chip, 0.3, seed);
    const auto saliency =
        training::repair::weight_saliency(network, random_parameters(network, seed), Saliency::magnitude, {});
    double least = 1e9;
    std::vector<std::int32_t> columns{0, 1, 2, 3, 4, 5};
    do {
      Placement placement = workloads::identity_placement(network);
      placement.stages[0] = {6, {columns.begin(), columns.begin() + 4}};
      least = std::min(least, lost_by_masks(network, saliency, placement, faults, chip));
    } while (std::next_permutation(columns.begin(), columns.end()));
    EXPECT_NEAR(map_around_faults(network, saliency, faults, chip).lost_after, least, 1e-6);
  }
}

TEST(Mapping, LeavesAChipWithoutBypassAsItWas) {
  const Network network = networks()[0].second;
  const configs::ChipConfig chip = small_chip(configs::ConvolutionMapping::im2col);
  const auto saliency =
      training::repair::weight_saliency(network, random_parameters(network, 1), Saliency::magnitude, {});
  const Mapping mapped = map_around_faults(network, saliency, faults::fault_free(7, 9), chip);
  EXPECT_TRUE(workloads::is_identity(mapped.placement));
  EXPECT_EQ(mapped.lost_after, 0);
}

TEST(Mapping, WeighsOutputsByTheSquaresOfWhatTheyRead) {
  Network network = network_of(2, 2, 1, {conv("c", 1, 1), flatten(), linear("f", 2)});
  network.input.mean.clear();
  network.input.std.clear();
  network.input.scale = 1;
  workloads::Parameters parameters = workloads::initial_parameters(network, 1);
  parameters.at("c.weight").data = {2, 3};
  parameters.at("c.bias").data = {1};
  parameters.at("f.weight").data = {1, -2, 0.5f, 1};
  workloads::ImageSet images;
  images.shape = network.input_shape();
  images.classes = 2;
  images.labels = {0, 1};
  images.pixels = std::vector<std::uint8_t>{1, 2, 0, 1, 3, 0, 2, 0};  // N, C, H, W
  const auto saliency = training::repair::weight_saliency(network, parameters, Saliency::output, images);
  // Mean squares: channel 0 (1 + 4 + 9 + 0)/4 = 3.5, channel 1 (0 + 1 + 4 + 0)/4 = 1.25.
  EXPECT_THAT(saliency.at("c.weight").data, ::testing::ElementsAre(4 * 3.5f, 9 * 1.25f));
  // c's outputs 2a + 3b + 1: image 0: 3, 8; image 1: 13, 1. Mean squares (9 + 169)/2, (64 + 1)/2.
  EXPECT_THAT(saliency.at("f.weight").data, ::testing::ElementsAre(89.f, 4 * 32.5f, 0.25f * 89, 32.5f));
}

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
  for (const double rate : {0.0, 0.05, 0.3, 0.5, 0.8, 1.0})
    for (int repeat = 0; repeat < 4; ++repeat) {
      const Eigen::Index samples = 120, weights = 30, inputs = weights + 1;
      Eigen::MatrixXd x(samples, inputs);
      Eigen::VectorXd y(samples), start(inputs);
      for (double& v : x.reshaped()) v = random.uniform(-1, 1);
      x.col(weights).setOnes();
      for (double& v : y.reshaped()) v = random.uniform(-1, 1);
      for (double& v : start.reshaped()) v = random.uniform(-1, 1);
      std::vector<int> pruned;
      for (int i = 0; i < weights; ++i)
        if (random.uniform(0, 1) < rate) pruned.push_back(i);
      const double ridge = 0.03;
      const Eigen::MatrixXd gram = x.transpose() * x;
      const double lambda = ridge * gram.diagonal().head(weights).mean();
      const auto problem = training::repair::prepare_least_squares(gram, ridge, weights);
      const Eigen::VectorXd gradient = x.transpose() * (y - x * start);
      const Eigen::VectorXd w = start + training::repair::solve_column(problem, gradient, start, pruned);
      const Eigen::VectorXd expected = dense_solution(x, y, start, lambda, weights, pruned);
      EXPECT_LT((w - expected).norm(), 1e-6 * std::max(1.0, expected.norm())) << rate;
      for (const int i : pruned) EXPECT_EQ(w[i], 0);
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
    const auto compensate = [&](const faults::ArrayFaults& faults, common::ThreadPool* threads) {
      accelerator.load_faults(faults);
      return training::repair::compensate(accelerator, network, parameters,
                                          workloads::pruning_masks(network, faults, chip), scales, faults,
                                          images, {}, threads)
          .parameters;
    };
    const auto clean = faults::fault_free(7, 9);
    EXPECT_EQ(compensate(clean, &pool), parameters);

    const auto faults = random_bypass(chip, 0.15, 2);
    const auto repaired = compensate(faults, &pool);
    EXPECT_EQ(repaired, compensate(faults, &two));
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

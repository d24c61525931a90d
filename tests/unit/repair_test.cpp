// Repair without gradient descent: placements change nothing but where weights stand, mappings are optimal.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "array/functional_accelerator.h"
#include "common/random.h"
#include "common/thread_pool.h"
#include "tests/support/repair_cases.h"
#include "training/batch_pass.h"
#include "training/batch_source.h"
#include "training/repair/batch_norm_recalibration.h"
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
      std::vector<std::int32_t> labels(8);
      training::BatchSource(n, images, 8, false, 1, "test").load(0, pass.input(), labels, pool);
      const double loss = pass.run(p, labels, {});
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

TEST(Mapping, LeavesChannelsThatLoseNothingWhereTheyWere) {
  const Network network = network_of(2, 3, 3, {conv("c", 4, 1), global_average()});
  const configs::ChipConfig chip = small_chip(configs::ConvolutionMapping::im2col);
  faults::ArrayFaults faults = faults::fault_free(7, 9);
  faults.bypass[6 * 9 + 8] = 1;  // a row and a column that this layer does not use
  const auto saliency =
      training::repair::weight_saliency(network, random_parameters(network, 1), Saliency::magnitude, {});
  for (const bool spare : {false, true}) {
    const Mapping mapped = map_around_faults(network, saliency, faults, chip, {spare, 4});
    EXPECT_EQ(mapped.placement.stages[0].slot_of, (std::vector<std::int32_t>{0, 1, 2, 3}));
    EXPECT_EQ(mapped.lost_after, 0);
  }
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

TEST(Recalibration, MeasuresWhatTheChipComputes) {
  common::ThreadPool pool(1);
  const Network network = networks()[0].second;
  const workloads::Stage& stage = network.stages[0];  // c1: 3x3, padding 1, behind it bn1
  const configs::ChipConfig chip = small_chip(configs::ConvolutionMapping::im2col);
  const auto parameters = random_parameters(network, 6);
  const auto images = random_images(30, network.input_shape(), network.classes, 6);
  const auto scales = workloads::calibrate(network, parameters, images, {});
  const auto faults = random_bypass(chip, 0.2, 6);
  const auto masks = workloads::pruning_masks(network, faults, chip);
  array::FunctionalAccelerator accelerator(chip, nullptr, 1 << 26);
  accelerator.load_faults(faults);
  const auto actual = training::repair::recalibrate_batch_norm(
      network, parameters, masks, training::ChipInTheLoop{&accelerator, scales}, images, 30, false, 1, pool);

  workloads::Parameters pruned = parameters;
  workloads::apply_masks(pruned, masks);
  std::vector<float> unit;
  workloads::Tensor<std::int8_t> weight;
  workloads::quantize_weight(pruned.at("c1.weight"), unit, weight);
  std::vector<float> pixels(static_cast<std::size_t>(images.size() * images.shape.count()));
  workloads::normalize(images, 0, images.size(), network.input, pixels);
  const auto [channels, height, width] = stage.in;
  const auto code = [&](std::int64_t n, std::int64_t c, std::int64_t y, std::int64_t x) {
    if (y < 0 || y >= height || x < 0 || x >= width) return 0.0;
    const double scaled = pixels[((n * channels + c) * height + y) * width + x] / scales.input[0];
    return std::clamp(std::nearbyint(scaled), -127.0, 127.0);
  };
  for (std::int64_t o = 0; o < stage.gemm_out.channels; ++o) {
    double sum = 0, squares = 0;
    const auto count = static_cast<double>(images.size() * height * width);
    for (std::int64_t n = 0; n < images.size(); ++n)
      for (std::int64_t y = 0; y < height; ++y)
        for (std::int64_t x = 0; x < width; ++x) {
          double z = 0;
          for (std::int64_t c = 0; c < channels; ++c)
            for (std::int64_t k = 0; k < 9; ++k)
              z += code(n, c, y + k / 3 - 1, x + k % 3 - 1) * weight.data[(o * channels + c) * 9 + k];
          z = z * unit[o] * scales.input[0] + parameters.at("c1.bias").data[o];
          sum += z;
          squares += z * z;
        }
    const double mean = sum / count, variance = (squares - count * mean * mean) / (count - 1);
    EXPECT_NEAR(actual.at("bn1.running_mean").data[o], mean, 1e-4);
    EXPECT_NEAR(actual.at("bn1.running_var").data[o], variance, 1e-4 * variance);
  }
  EXPECT_EQ(actual.at("c1.weight"), pruned.at("c1.weight"));
  // Black borders lower the mean of images that are brighter than black.
  const auto augmented = training::repair::recalibrate_batch_norm(
      network, parameters, masks, training::ChipInTheLoop{&accelerator, scales}, images, 30, true, 1, pool);
  EXPECT_NE(augmented.at("bn1.running_mean"), actual.at("bn1.running_mean"));
}

}  // namespace
}  // namespace kintsugi

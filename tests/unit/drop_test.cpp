// Faults that no bypass hides are kept away from: nothing of them reaches a result, what that costs is what
// is said, and what cannot be done is said too.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "array/functional_accelerator.h"
#include "array/schedule.h"
#include "common/thread_pool.h"
#include "faults/sampler.h"
#include "tests/support/repair_cases.h"
#include "training/repair/compensation.h"
#include "training/repair/mapping.h"
#include "workloads/deployed.h"
#include "workloads/inference.h"
#include "workloads/pruning_mask.h"

namespace kintsugi {
namespace {

using namespace kintsugi::testing;  // builders of small networks
using configs::ConvolutionMapping;
using faults::Unbypassable;
using ::testing::HasSubstr;
using training::repair::Mapping;
using training::repair::MappingOptions;
using workloads::Network;

// One map and what follows from it.
struct Chip {
  configs::ChipConfig config;
  faults::FaultMap map;
  faults::ArrayFaults faults;
  Unbypassable unbypassable;
};

Chip chip_of(const configs::ChipConfig& config, faults::FaultMap map) {
  Chip chip{config, std::move(map), {}, {}};
  chip.faults = faults::compile(chip.map, faults::BypassSource::fault_map, nullptr, config.array.rows,
                                config.array.cols, config.array.accumulator_bits);
  chip.unbypassable = faults::find_unbypassable(chip.map, chip.faults.bypass);
  return chip;
}

// Faults mostly in the registers that neighbours read.
Chip random_chip(const configs::ChipConfig& config, double rate, std::uint64_t seed) {
  faults::SampleSpec spec;
  spec.rows = config.array.rows;
  spec.cols = config.array.cols;
  spec.rate = rate;
  spec.sites = faults::SiteWeights{1, 2, 2, 2, 3};
  spec.seed = seed;
  return chip_of(config, faults::sample(spec));
}

faults::FaultMap map_with(int rows, int cols, std::vector<faults::Fault> faults) {
  faults::FaultMap map;
  map.chip = "by hand";
  map.rows = rows;
  map.cols = cols;
  map.faults = std::move(faults);
  return map;
}
faults::Fault stuck(int row, int col, pe::Site site, int bit, int value) {
  faults::Fault fault;
  fault.row = row;
  fault.col = col;
  fault.stuck = faults::StuckAt{site, bit, value};
  return fault;
}

Mapping map_network(const Network& network, const workloads::Parameters& parameters, const Chip& chip,
                    double max_cycle_factor, bool spare_columns = true) {
  const auto saliency =
      training::repair::weight_saliency(network, parameters, training::repair::Saliency::square, {});
  MappingOptions options{spare_columns, 4};
  options.drop = training::repair::DropOptions{chip.unbypassable, max_cycle_factor};
  return training::repair::map_around_faults(network, saliency, chip.faults, chip.config, options);
}

// Logits of the classes.
std::vector<float> logits(const Network& network, const workloads::DeployedNetwork& deployed,
                          const workloads::ImageSet& images, const configs::ChipConfig& config,
                          const faults::ArrayFaults& faults) {
  array::FunctionalAccelerator accelerator(config, nullptr, 1 << 26);
  accelerator.load_faults(faults);
  return workloads::infer(accelerator, network, deployed, images, 16, faults).logits.data;
}

TEST(Unbypassable, FollowsTheRegistersThatNeighboursRead) {
  auto escape = stuck(4, 1, pe::Site::psum_register, 3, 1);
  escape.escape = true;
  faults::Fault unknown;
  unknown.row = 0, unknown.col = 0;
  const Chip chip = chip_of(
      small_chip(ConvolutionMapping::im2col, 5, 6),
      map_with(5, 6,
               {unknown, stuck(1, 2, pe::Site::multiplier, 3, 1), stuck(2, 4, pe::Site::psum_register, 0, 0),
                stuck(3, 3, pe::Site::activation_register, 1, 1),
                stuck(3, 1, pe::Site::activation_register, 1, 0), escape}));
  EXPECT_THAT(chip.unbypassable.spoiled_column, ::testing::ElementsAre(0, 0, 0, 0, 1, 0));
  EXPECT_THAT(chip.unbypassable.sound_until, ::testing::ElementsAre(6, 6, 6, 2, 6));
  EXPECT_EQ(chip.unbypassable.faulty_pes, 3);
  const faults::ArrayFaults avoided = faults::with_avoided(chip.faults, chip.unbypassable);
  for (int r = 0; r < 5; ++r)
    for (int c = 0; c < 6; ++c)
      EXPECT_EQ(avoided.bypassed(r, c),
                (r == 0 && c == 0) || (r == 1 && c == 2) || c == 4 || (r == 3 && c >= 1))
          << r << " " << c;
  // Not bypassed, a known fault of the multiplier spoils its column as well.
  const std::vector<std::uint8_t> none(30, 0);
  EXPECT_THAT(faults::find_unbypassable(chip.map, none).spoiled_column,
              ::testing::ElementsAre(0, 0, 1, 0, 1, 0));
}

// The proof: the network that keeps away gives, bit for bit, on its faulty chip what it gives without faults.
TEST(Drop, LeavesNothingOfTheFaultsInAnyOutput) {
  common::ThreadPool pool(1);
  int proven = 0, leaky = 0, lost = 0, grown = 0, refused = 0;
  for (const auto mapping : {ConvolutionMapping::im2col, ConvolutionMapping::channel})
    for (const auto& [name, network] : networks())
      for (std::uint64_t seed = 1; seed <= 8; ++seed) {
        SCOPED_TRACE(name + ", seed " + std::to_string(seed));
        configs::ChipConfig config = small_chip(mapping, seed % 2 == 0 ? 7 : 16, seed % 3 == 0 ? 5 : 9);
        const Chip chip = random_chip(config, 0.02 * static_cast<double>(seed), seed);
        if (!chip.unbypassable.any()) continue;
        const auto parameters = random_parameters(network, seed);
        const auto images = random_images(60, network.input_shape(), network.classes, seed);
        const auto scales = workloads::calibrate(network, parameters, images, {});
        const Mapping mapped = map_network(network, parameters, chip, seed % 4 == 0 ? 1 : 8);
        ASSERT_TRUE(mapped.dropped);
        if (!mapped.dropped->problem.empty()) {
          ++refused;
          EXPECT_TRUE(workloads::is_identity(mapped.placement));
          continue;
        }
        EXPECT_EQ(mapped.dropped->columns, chip.unbypassable.spoiled_columns());
        EXPECT_EQ(mapped.dropped->rows, chip.unbypassable.cut_rows());
        lost += mapped.dropped->channels > 0;
        grown += mapped.dropped->cycle_factor > 1;
        const Network placed = workloads::placed(network, mapped.placement);
        const auto clean = faults::fault_free(config.array.rows, config.array.cols);
        const auto both = [&](const workloads::Masks& masks, const workloads::Parameters& start) {
          const auto deployed = workloads::deploy(placed, start, scales, masks);
          return std::pair(logits(placed, deployed, images, config, chip.faults),
                           logits(placed, deployed, images, config, clean));
        };
        const auto moved = workloads::place(network, parameters, mapped.placement);
        const auto masks = workloads::pruning_masks(placed, chip.faults, config, chip.unbypassable);
        const auto [faulty, sound] = both(masks, moved);
        EXPECT_EQ(faulty, sound);
        // Compensated on what that chip gives, garbage in dropped columns included.
        training::repair::Compensator compensator(network, parameters, scales, images, {}, &pool);
        array::FunctionalAccelerator accelerator(config, nullptr, 1 << 26);
        accelerator.load_faults(chip.faults);
        const auto repaired = compensator.run(accelerator, masks, chip.faults, &mapped.placement).parameters;
        const auto [faulty_repaired, sound_repaired] = both(masks, repaired);
        EXPECT_EQ(faulty_repaired, sound_repaired);
        ++proven;
        // With the bypass alone something is left.
        const auto [without, expected] = both(workloads::pruning_masks(placed, chip.faults, config), moved);
        leaky += without != expected;
      }
  EXPECT_GE(proven, 25);
  EXPECT_GE(leaky, proven * 3 / 4);
  EXPECT_GE(lost, 3);
  EXPECT_GE(grown, 3);
  EXPECT_GE(refused, 1);
}

Network two_layers(int hidden) {
  return network_of(4, 1, 1, {flatten(), linear("f1", hidden), relu(), linear("f2", 3)});
}

TEST(Drop, CostsTheTilesThatTheScheduleCounts) {
  // 8 rows and 4 columns. Column 1 is spoiled: four hidden channels fit with one tile more.
  const configs::ChipConfig config = small_chip(ConvolutionMapping::im2col, 8, 4);
  const Chip chip = chip_of(config, map_with(8, 4, {stuck(2, 1, pe::Site::psum_register, 20, 1)}));
  const Network network = two_layers(4);
  workloads::Parameters parameters = random_parameters(network, 1);
  // Hidden channel 2 matters least.
  auto& weight = parameters.at("f1.weight").data;
  std::fill(weight.begin() + 8, weight.begin() + 12, 1e-3f);
  for (int o = 0; o < 3; ++o) parameters.at("f2.weight").data[o * 4 + 2] = 1e-3f;

  const Mapping same = map_network(network, parameters, chip, 1);
  ASSERT_EQ(same.dropped->problem, "");
  EXPECT_EQ(same.dropped->cycle_factor, 1);
  EXPECT_EQ(same.dropped->channels, 1);
  EXPECT_EQ(same.placement.stages[0].slots, 4);
  EXPECT_EQ(same.placement.stages[0].slot_of[2], 1);
  EXPECT_EQ(same.placement.stages[1].slots, 4);
  EXPECT_THAT(same.placement.stages[1].slot_of, ::testing::Each(::testing::Ne(1)));

  const Mapping more = map_network(network, parameters, chip, 8);
  EXPECT_EQ(more.dropped->channels, 0);
  EXPECT_EQ(more.placement.stages[0].slots, 8);
  EXPECT_THAT(more.placement.stages[0].slot_of, ::testing::Each(::testing::AnyOf(0, 2, 3, 4, 6, 7)));
  // One image, double-buffered: R + (T − 1)·max(M, R) + M + R + C − 2 for T tiles.
  const auto cycles = [](int tiles) { return 8. + (tiles - 1) * 8 + 1 + 8 + 4 - 2; };
  EXPECT_DOUBLE_EQ(more.dropped->cycle_factor, (cycles(2) + cycles(1)) / (2 * cycles(1)));
  // What the limit forbids is not done.
  EXPECT_EQ(map_network(network, parameters, chip, more.dropped->cycle_factor - 1e-6).dropped->channels, 1);
  EXPECT_EQ(map_network(network, parameters, chip, more.dropped->cycle_factor).dropped->channels, 0);
}

TEST(Drop, SaysWhyItCannot) {
  const Network network = two_layers(4);
  const auto parameters = random_parameters(network, 1);
  const configs::ChipConfig config = small_chip(ConvolutionMapping::im2col, 8, 4);
  std::vector<faults::Fault> faults;
  const auto problem = [&](double factor) {
    return map_network(network, parameters, chip_of(config, map_with(8, 4, faults)), factor).dropped->problem;
  };
  faults = {stuck(0, 0, pe::Site::psum_register, 3, 1), stuck(7, 3, pe::Site::psum_register, 31, 0)};
  EXPECT_THAT(problem(1), HasSubstr("2 of 3 outputs find a column without faults"));
  EXPECT_EQ(problem(8), "");
  for (int c = 1; c < 3; ++c) faults.push_back(stuck(5, c, pe::Site::psum_register, 3, 1));
  EXPECT_THAT(problem(8), HasSubstr("every column of the array has a fault"));
}

TEST(Drop, IsNoChangeWhereTheBypassHidesEverything) {
  for (const auto& [name, network] : networks()) {
    SCOPED_TRACE(name);
    const configs::ChipConfig config = small_chip(ConvolutionMapping::im2col);
    const auto parameters = random_parameters(network, 3);
    Chip chip = random_chip(config, 0.2, 3);
    std::erase_if(chip.map.faults, [](const faults::Fault& fault) {
      return fault.stuck->site == pe::Site::psum_register ||
             fault.stuck->site == pe::Site::activation_register;
    });
    chip = chip_of(config, chip.map);
    ASSERT_FALSE(chip.unbypassable.any());
    const auto saliency =
        training::repair::weight_saliency(network, parameters, training::repair::Saliency::square, {});
    const Mapping plain = training::repair::map_around_faults(network, saliency, chip.faults, config);
    const Mapping dropping = map_network(network, parameters, chip, 2);
    EXPECT_EQ(dropping.placement, plain.placement);
    EXPECT_EQ(dropping.lost_after, plain.lost_after);
    EXPECT_EQ(workloads::pruning_masks(network, chip.faults, config, chip.unbypassable),
              workloads::pruning_masks(network, chip.faults, config));
  }
}

}  // namespace
}  // namespace kintsugi

// Whole networks on the functional accelerator against arithmetic on paper; pruning masks against brute
// force.
#include "workloads/inference.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "array/functional_accelerator.h"
#include "array/schedule.h"
#include "common/thread_pool.h"
#include "tests/support/input_error.h"
#include "tests/support/integer_reference.h"
#include "tests/support/small_networks.h"
#include "workloads/float_forward.h"
#include "workloads/pruning_mask.h"

namespace kintsugi {
namespace {

using namespace kintsugi::testing;  // builders of small networks
using workloads::Network;
using workloads::Tensor;

configs::ChipConfig small_chip(configs::ConvolutionMapping mapping = configs::ConvolutionMapping::im2col) {
  configs::ChipConfig chip;
  chip.array.rows = 7;
  chip.array.cols = 5;
  chip.convolution = mapping;
  return chip;
}

std::vector<std::pair<std::string, Network>> networks() {
  return {{"conv-bn-pool-flatten-linear",
           network_of(3, 9, 8,
                      {conv("c1", 6, 3, 1, 1), batch_norm("bn1"), relu(), max_pool(2, 2),
                       conv("c2", 4, 3, 2, 1, 2, false), batch_norm("bn2"), flatten(), linear("f1", 7),
                       relu(), linear("f2", 4)})},
          {"overlapping pool, global average inside",
           network_of(2, 10, 10,
                      {conv("c1", 5, 3), relu(), max_pool(3, 2), conv("c2", 6, 2), global_average(),
                       flatten(), linear("f", 3, false)})},
          {"ends in a global average",
           network_of(1, 7, 7, {conv("c1", 4, 3), relu(), conv("c2", 3, 1), relu(), global_average()})},
          {"residual blocks, padded pool, average behind an add",
           network_of(3, 11, 9,
                      {conv("c1", 5, 3, 1, 1, 1, false),
                       batch_norm("bn1"),
                       relu(),
                       named(padded_pool(3, 2, 1, false), "p"),
                       conv("a1", 5, 3, 1, 1),
                       batch_norm("abn"),
                       relu(),
                       conv("a2", 5, 3, 1, 1),
                       add("a", "a2", "p"),
                       named(relu(), "ar"),
                       conv("b1", 8, 3, 2, 1),
                       relu(),
                       conv("b2", 8, 3, 1, 1),
                       batch_norm("bbn"),
                       reading(conv("short", 8, 1, 2), "ar"),
                       add("b", "bbn", "short"),
                       relu(),
                       global_average(),
                       flatten(),
                       linear("f", 4)})},
          {"normalisation before a pool rounded up, linear sum, average at the end",
           network_of(3, 10, 8,
                      {conv("c1", 7, 3), relu(), response_norm("n1", 5, 2.0), padded_pool(3, 2, 0, true),
                       conv("c2", 6, 3, 1, 1, 1), response_norm("n2", 4, 0.5, 2.0), conv("c3", 6, 1),
                       add("s", "n2", "c3"), padded_pool(2, 2, 1, true), conv("c4", 3, 2), conv("c5", 3, 1),
                       add("t", "c5", "c4"), global_average()})},
          {"flat sum", network_of(1, 4, 4,
                                  {flatten(), linear("a", 6), named(relu(), "r"), linear("b", 6),
                                   add("s", "b", "r"), linear("c", 3)})},
          {"flat from the start", network_of(2, 3, 3, {flatten(), linear("a", 8), relu(), linear("b", 2)})}};
}

struct Prepared {
  workloads::Parameters parameters;
  workloads::ImageSet images;
  workloads::DeployedNetwork deployed;
};

Prepared prepare(const Network& network, const workloads::Masks& masks = {}) {
  Prepared p;
  p.parameters = random_parameters(network, 11);
  p.images = random_images(23, network.input_shape(), network.classes, 12);
  configs::QuantizationConfig config;
  p.deployed = workloads::deploy(network, p.parameters,
                                 workloads::calibrate(network, p.parameters, p.images, config), masks);
  return p;
}

workloads::InferenceResult run(const configs::ChipConfig& chip, const Network& network, const Prepared& p,
                               std::int64_t batch, const faults::ArrayFaults& faults,
                               const workloads::LayerOutputObserver& observe = {}) {
  common::ThreadPool pool(1);
  array::FunctionalAccelerator device(chip, &pool, 1 << 24);
  device.load_faults(faults);
  return workloads::infer(device, network, p.deployed, p.images, batch, faults, observe);
}

TEST(Infer, equals_integer_arithmetic_on_paper) {
  const auto clean = faults::fault_free(7, 5);
  for (const auto& [name, network] : networks()) {
    const Prepared p = prepare(network);
    const auto mapping = {configs::ConvolutionMapping::im2col, configs::ConvolutionMapping::channel};
    for (const auto convolution : mapping)
      for (const std::int64_t batch : {1, 10, 100}) {
        const auto result = run(small_chip(convolution), network, p, batch, clean);
        std::vector<float> image(static_cast<std::size_t>(network.input_shape().count()));
        for (std::int64_t i = 0; i < p.images.size(); ++i) {
          workloads::normalize(p.images, i, 1, network.input, image);
          const std::vector<float> want = test::reference_logits(network, p.deployed, image);
          const std::vector<float> got(result.logits.data.begin() + i * network.classes,
                                       result.logits.data.begin() + (i + 1) * network.classes);
          ASSERT_EQ(got, want) << name << ", image " << i << ", batch " << batch;
          ASSERT_EQ(result.predicted[i], std::max_element(want.begin(), want.end()) - want.begin());
        }
      }
  }
}

TEST(Infer, stays_near_the_float_network) {
  for (const auto& [name, network] : networks()) {
    const Prepared p = prepare(network);
    const auto result = run(small_chip(), network, p, 23, faults::fault_free(7, 5));
    Tensor<float> batch({23, network.input.channels, network.input.height, network.input.width});
    workloads::normalize(p.images, 0, 23, network.input, batch.data);
    const Tensor<float> exact = workloads::float_forward(network, p.parameters, batch);
    float range = 0, worst = 0;
    for (std::size_t i = 0; i < exact.data.size(); ++i) {
      range = std::max(range, std::fabs(exact.data[i]));
      worst = std::max(worst, std::fabs(exact.data[i] - result.logits.data[i]));
    }
    EXPECT_LT(worst, 0.05f * range) << name;
  }
}

TEST(Infer, reports_layers_and_shows_their_raw_outputs) {
  const auto [name, network] = networks().front();
  const Prepared p = prepare(network);
  std::vector<std::vector<std::size_t>> sizes(network.stages.size());
  const auto result =
      run(small_chip(), network, p, 10, faults::fault_free(7, 5),
          [&](std::size_t s, std::span<const std::byte> raw) { sizes[s].push_back(raw.size()); });
  EXPECT_EQ(sizes[0], (std::vector<std::size_t>{10 * 9 * 8 * 6, 10 * 9 * 8 * 6, 3 * 9 * 8 * 6}));
  EXPECT_EQ(sizes.back(), (std::vector<std::size_t>{10 * 4 * 4, 10 * 4 * 4, 3 * 4 * 4}));
  const workloads::LayerReport& first = result.layers[0];
  EXPECT_EQ(first.layer, "c1");
  EXPECT_EQ(first.m, 10 * 9 * 8);
  EXPECT_EQ(first.k, 27);
  EXPECT_EQ(first.n, 6);
  // ceil(27/7) · ceil(6/5) = 8 tiles in each of three batches: R + 7·M + M + R + C − 2 cycles.
  EXPECT_EQ(first.tiles, 24);
  EXPECT_EQ(first.macs, 23 * 9 * 8 * 27 * 6);
  EXPECT_EQ(first.cycles, 2 * (7 + 8 * 720 + 7 + 5 - 2) + (7 + 8 * 216 + 7 + 5 - 2));
  EXPECT_DOUBLE_EQ(first.utilization,
                   static_cast<double>(first.macs) / (static_cast<double>(first.cycles) * 35));
  EXPECT_EQ(first.mapped_fault_rate, 0);
  const std::string csv = workloads::layers_csv(result.layers, small_chip());
  EXPECT_TRUE(csv.starts_with("layer,m,k,n,tiles,cycles,stall_cycles,macs,utilization,mapped_fault_rate,"));
  EXPECT_NE(csv.find("\nc1,720,27,6,24,"), std::string::npos);
}

TEST(Infer, says_when_the_device_is_too_small) {
  const auto [name, network] = networks().front();
  const Prepared p = prepare(network);
  array::FunctionalAccelerator device(small_chip(), nullptr, 4096);
  EXPECT_THAT(test::input_error([&] {
                workloads::infer(device, network, p.deployed, p.images, 23, faults::fault_free(7, 5));
              }),
              ::testing::HasSubstr("Choose a smaller batch"));
}

// Every (tile, PE) visited by plain loops; the mask must be 0 exactly at the weights that met a bypassed PE.
TEST(PruningMask, equals_a_walk_over_all_tiles) {
  for (const auto mapping : {configs::ConvolutionMapping::im2col, configs::ConvolutionMapping::channel})
    for (const auto& [name, network] : networks()) {
      common::RandomStream random(9, "bypass");
      auto faults = faults::fault_free(7, 5);
      for (auto& bit : faults.bypass) bit = random.below(4) == 0;
      const configs::ChipConfig chip = small_chip(mapping);
      const auto masks = workloads::pruning_masks(network, faults, chip);
      ASSERT_EQ(static_cast<std::ptrdiff_t>(masks.size()),
                std::ranges::count_if(network.stages, [](const auto& stage) { return stage.on_chip(); }));
      for (const workloads::Stage& stage : network.stages) {
        if (!stage.on_chip()) continue;
        const auto& mask = masks.at(stage.name + ".weight");
        const std::int64_t inputs = stage.in.channels / stage.groups,
                           outputs = stage.gemm_out.channels / stage.groups;
        const std::int64_t kernel = stage.kernel;
        ASSERT_EQ(static_cast<std::int64_t>(mask.data.size()), stage.weight_count());
        std::int64_t pruned = 0;
        for (std::int64_t o = 0; o < stage.gemm_out.channels; ++o)
          for (std::int64_t i = 0; i < inputs; ++i)
            for (std::int64_t ky = 0; ky < kernel; ++ky)
              for (std::int64_t kx = 0; kx < kernel; ++kx) {
                // The row: k modulo R; in the channel mapping the input channel modulo R.
                const std::int64_t k = (ky * kernel + kx) * inputs + i;
                const std::int64_t row = (mapping == configs::ConvolutionMapping::channel ? i : k) % 7;
                const bool bypassed = faults.bypass[row * 5 + o % outputs % 5] != 0;
                pruned += bypassed;
                ASSERT_EQ(mask.data[((o * inputs + i) * kernel + ky) * kernel + kx], bypassed ? 0 : 1)
                    << name;
              }
        EXPECT_DOUBLE_EQ(workloads::mapped_fault_rate(stage, faults, chip),
                         static_cast<double>(pruned) / static_cast<double>(stage.weight_count()));
      }
    }
}

TEST(PruningMask, the_channel_mapping_prunes_whole_kernel_planes) {
  const auto network = network_of(9, 6, 6, {conv("c", 8, 3), flatten(), linear("f", 2)});
  auto faults = faults::fault_free(7, 5);
  faults.bypass[1 * 5 + 2] = 1;
  const auto mask =
      workloads::pruning_masks(network, faults, small_chip(configs::ConvolutionMapping::channel))
          .at("c.weight");
  for (int o = 0; o < 8; ++o)
    for (int i = 0; i < 9; ++i)
      for (int p = 0; p < 9; ++p)
        ASSERT_EQ(mask.data[(o * 9 + i) * 9 + p], (i == 1 || i == 8) && (o == 2 || o == 7) ? 0 : 1);
}

TEST(PruningMask, pruned_weights_become_exactly_zero) {
  workloads::Parameters parameters{{"w", Tensor<float>({4}, {-1.f, -0.f, NAN, 2.f})}};
  workloads::apply_masks(parameters, {{"w", Tensor<std::uint8_t>({4}, {0, 0, 0, 1})}});
  EXPECT_EQ(parameters.at("w").data, (std::vector<float>{0.f, 0.f, 0.f, 2.f}));
  EXPECT_FALSE(std::signbit(parameters.at("w").data[1]));
  EXPECT_THROW(workloads::apply_masks(parameters, {{"v", Tensor<std::uint8_t>({1}, {0})}}),
               std::invalid_argument);
}

TEST(Accuracy, counts_equal_entries) {
  EXPECT_DOUBLE_EQ(workloads::accuracy({1, 2, 3, 4}, {1, 0, 3, 0}), 0.5);
  EXPECT_THROW(workloads::accuracy({1}, {1, 2}), std::invalid_argument);
}

}  // namespace
}  // namespace kintsugi

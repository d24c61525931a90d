// The networks of the papers (configs/networks): their published counts, and their integer arithmetic against
// direct convolution at sampled positions of every layer.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include "array/functional_accelerator.h"
#include "common/random.h"
#include "common/thread_pool.h"
#include "configs/network.h"
#include "tests/support/integer_reference.h"
#include "workloads/deployed.h"
#include "workloads/float_forward.h"
#include "workloads/inference.h"

namespace kintsugi {
namespace {

using workloads::Network;
using workloads::Stage;

Network load(const std::string& name, int side = 0) {
  configs::Overrides overrides;
  if (side > 0)
    overrides = {{"network.input.height", fmt::format("{}", side)},
                 {"network.input.width", fmt::format("{}", side)}};
  const auto file = std::filesystem::path(KINTSUGI_SOURCE_DIR) / "configs/networks" / (name + ".yaml");
  return workloads::build_network(configs::read_network(file, overrides));
}

std::int64_t neurons(const Network& network) {
  std::int64_t count = 0;
  for (std::size_t s = 0; s < network.stages.size(); ++s) count += network.neurons(s);
  return count;
}

std::int64_t macs(const Network& network, bool convolutions_only = false) {
  std::int64_t count = 0;
  for (const Stage& stage : network.stages)
    if (!convolutions_only || stage.convolution) count += stage.macs();
  return count;
}

struct Published {
  const char* name;
  std::int64_t parameters, macs, classes;
};

class PaperNetworks : public ::testing::TestWithParam<Published> {};

// Parameters as published (torchvision, Caffe's model zoo); MACs worked out layer by layer from the papers'
// tables: outputs × kernel × kernel × inputs of a group.
TEST_P(PaperNetworks, HaveThePublishedCounts) {
  const Network network = load(GetParam().name);
  EXPECT_EQ(network.parameter_count(), GetParam().parameters);
  EXPECT_EQ(macs(network), GetParam().macs);
  EXPECT_EQ(network.classes, GetParam().classes);
}

constexpr std::int64_t kAlexNetMacs = 55 * 55 * 96 * 363 + 27 * 27 * 256 * 25 * 48 + 169 * 384 * 9 * 256 +
                                      169 * 384 * 9 * 192 + 169 * 256 * 9 * 192 + 9216 * 4096 + 4096 * 4096 +
                                      4096 * 1000;
// The first convolution; three groups of three blocks, a shortcut's projection in the second and the third.
constexpr std::int64_t kResNet20Macs = 1024 * 16 * 27 + 6 * 1024 * 16 * 144 +
                                       256 * 32 * (144 + 5 * 288 + 16) + 64 * 64 * (288 + 5 * 576 + 32) + 640;
constexpr std::int64_t kNinMacs =
    std::int64_t{54 * 54} * (96 * 363 + 2 * 96 * 96) + 27 * 27 * (256 * 25 * 96 + 2 * 256 * 256) +
    13 * 13 * (384 * 9 * 256 + 2 * 384 * 384) + 36 * (1024 * 9 * 384 + 1024 * 1024 + 1000 * 1024);

INSTANTIATE_TEST_SUITE_P(
    Files, PaperNetworks,
    ::testing::Values(
        Published{"convnet", 145578, 1024 * 32 * 75 + 256 * 32 * 800 + 64 * 64 * 800 + 1024 * 64 + 640, 10},
        Published{"all_cnn_c", 1369738,
                  1024 * 96 * 27 + 1024 * 96 * 864 + 256 * 96 * 864 + 256 * 192 * 864 + 256 * 192 * 1728 +
                      64 * 192 * 1728 * 2 + 64 * 192 * 192 + 64 * 192 * 10,
                  10},
        Published{"vgg11_cifar10", 9231114,
                  1024 * 64 * 27 + 256 * 128 * 576 + 64 * 256 * (1152 + 2304) + 16 * 512 * (2304 + 4608) +
                      4 * 512 * 4608 * 2 + 5120,
                  10},
        // 269,722 with the paper's parameterless shortcuts, and two projections with batch-norm.
        Published{"resnet20_cifar10", 269722 + (32 * 16 + 64) + (64 * 32 + 128), kResNet20Macs, 10},
        Published{"alexnet", 60965224, kAlexNetMacs, 1000},
        Published{"caffenet", 60965224, kAlexNetMacs, 1000}, Published{"nin", 7595176, kNinMacs, 1000},
        Published{"vgg16", 138357544, 15470264320, 1000}, Published{"vgg19", 143667240, 19632062464, 1000},
        Published{"resnet18", 11689512, 1814073344, 1000}),
    [](const auto& test) { return std::string(test.param.name); });

TEST(PaperNetworkCounts, Neurons) {
  EXPECT_EQ(neurons(load("all_cnn_c")), 357002);  // Schorn et al., Table I
  EXPECT_EQ(neurons(load("vgg16")), 13556712);
  EXPECT_EQ(macs(load("alexnet")), 724406816);
  EXPECT_EQ(macs(load("vgg16"), true), 15346630656);
}

TEST(PaperNetworkCounts, Shapes) {
  const Network alexnet = load("alexnet"), caffenet = load("caffenet"), nin = load("nin"),
                resnet = load("resnet18");
  // Normalisation before pooling in one, after it in the other; the sum goes on with 6×6 maps in both.
  EXPECT_EQ(alexnet.stages[1].in.height, 55);
  EXPECT_EQ(caffenet.stages[1].in.height, 27);
  EXPECT_EQ(alexnet.stages[7].in.channels, 256 * 6 * 6);
  EXPECT_EQ(caffenet.stages[7].in.channels, 256 * 6 * 6);
  EXPECT_EQ(nin.stages[2].out.height, 27);  // 54 pooled by 3/2, rounded up
  EXPECT_EQ(nin.stages[5].out.height, 13);
  EXPECT_EQ(nin.stages[8].out.height, 6);
  EXPECT_EQ(resnet.stages[0].gemm_out.height, 112);
  EXPECT_EQ(resnet.stages[0].out.height, 56);
  // layer2.0: a shortcut that reads the end of layer1.1, and a sum of both.
  const auto at = [&](const std::string& name) {
    for (std::size_t s = 0; s < resnet.stages.size(); ++s)
      if (resnet.stages[s].name == name) return static_cast<int>(s);
    return -2;
  };
  EXPECT_EQ(resnet.stages[at("layer2.0.downsample.0")].inputs, std::vector{at("layer1.1.add")});
  EXPECT_EQ(resnet.stages[at("layer2.0.add")].inputs,
            (std::vector{at("layer2.0.conv2"), at("layer2.0.downsample.0")}));
  EXPECT_TRUE(resnet.stages[at("layer2.0.add")].relu);
  EXPECT_FALSE(resnet.stages[at("layer2.0.conv2")].relu);
  EXPECT_EQ(resnet.stages[at("layer4.1.add")].out.height, 1);
  // 6n + 2 layers with weights, and the two projections.
  const Network resnet20 = load("resnet20_cifar10");
  EXPECT_EQ(std::ranges::count_if(resnet20.stages, [](const Stage& s) { return s.on_chip(); }), 20 + 2);
  EXPECT_EQ(std::ranges::count_if(resnet20.stages, [](const Stage& s) { return !s.on_chip(); }), 9);
  EXPECT_TRUE(load("vgg16").is_chain());
  EXPECT_FALSE(resnet.is_chain());
  EXPECT_FALSE(alexnet.is_chain());
}

// The map (C, H, W) that a stage's readers see, from the bytes it left in device memory (H, W, C).
std::vector<int> result_of(const Stage& stage, const workloads::DeployedStage& deployed,
                           const std::vector<std::byte>& raw) {
  const std::int64_t pixels = stage.gemm_out.height * stage.gemm_out.width,
                     channels = stage.gemm_out.channels;
  std::vector<std::int64_t> map(raw.size());
  for (std::int64_t p = 0; p < pixels; ++p)
    for (std::int64_t c = 0; c < channels; ++c)
      map[c * pixels + p] = static_cast<std::int8_t>(raw[p * channels + c]);
  return test::reference_result(stage, deployed, map);
}

// Every layer is computed from what the layers before it left in device memory, so an error shows in the
// layer where it is made.
void expect_equal_at_samples(const Network& network, std::int64_t samples) {
  const workloads::Parameters parameters = workloads::random_weights(network, 3);
  const workloads::ImageSet images = workloads::random_image_set({1, 5}, network);
  common::ThreadPool pool(1);
  const auto deployed = workloads::deploy(
      network, parameters, workloads::calibrate(network, parameters, images, configs::QuantizationConfig{}));
  configs::ChipConfig chip;
  chip.memory.emplace();  // maps stay in the unified buffer, the chip pools
  array::FunctionalAccelerator device(chip, &pool, std::uint64_t{4} << 30);
  const auto clean = faults::fault_free(chip.array.rows, chip.array.cols);
  device.load_faults(clean);
  std::vector<std::vector<std::byte>> raw(network.stages.size());
  workloads::infer(
      device, network, deployed, images, 1, clean,
      [&](std::size_t s, std::span<const std::byte> bytes) { raw[s].assign(bytes.begin(), bytes.end()); });
  std::vector<float> image(static_cast<std::size_t>(network.input_shape().count()));
  workloads::normalize(images, 0, 1, network.input, image);
  const std::vector<int> codes = test::reference_codes(image, deployed.stages[0].input_scale);

  for (std::size_t s = 0; s < network.stages.size(); ++s) {
    const Stage& stage = network.stages[s];
    const workloads::DeployedStage& d = deployed.stages[s];
    const auto read = [&](int source) {
      const auto at = static_cast<std::size_t>(source);
      return source == workloads::kImage ? codes
                                         : result_of(network.stages[at], deployed.stages[at], raw[at]);
    };
    const std::vector<int> first = read(stage.inputs.front()), second = read(stage.inputs.back());
    const std::int64_t H = stage.gemm_out.height, W = stage.gemm_out.width, C = stage.gemm_out.channels;
    const bool requantised = !stage.on_chip() || !d.requantization.empty();
    ASSERT_EQ(static_cast<std::int64_t>(raw[s].size()), C * H * W * (requantised ? 1 : 4)) << stage.name;
    std::vector<std::int64_t> all;
    if (!stage.on_chip()) all = test::reference_outputs(stage, d, first, second);
    common::RandomStream random(7, "sampled-positions", s);
    bool varies = false;
    for (std::int64_t i = 0; i < samples; ++i) {
      // Corners first: padding acts there.
      const std::int64_t c = static_cast<std::int64_t>(random.below(static_cast<std::uint64_t>(C)));
      std::int64_t y = static_cast<std::int64_t>(random.below(static_cast<std::uint64_t>(H)));
      std::int64_t x = static_cast<std::int64_t>(random.below(static_cast<std::uint64_t>(W)));
      if (i < 4) y = i < 2 ? 0 : H - 1, x = i % 2 == 0 ? 0 : W - 1;
      const std::int64_t at = (y * W + x) * C + c;
      std::int64_t want = 0, found = 0;
      if (!stage.on_chip()) {
        want = all[(c * H + y) * W + x];
      } else {
        want = test::reference_accumulator(stage, d, first, c, y, x);
        if (requantised) want = test::floor_requantized(want, d.requantization[c], stage.relu);
      }
      if (requantised) {
        found = static_cast<std::int8_t>(raw[s][at]);
      } else {
        std::int32_t accumulator = 0;
        std::memcpy(&accumulator, raw[s].data() + at * 4, 4);
        found = accumulator;
      }
      ASSERT_EQ(found, want) << stage.name << ", channel " << c << ", row " << y << ", column " << x;
      varies = varies || want != 0;
    }
    EXPECT_TRUE(varies) << stage.name << ": nothing but zeros proves nothing";
  }
}

TEST(PaperNetworkBits, ResNet18AtSampledPositions) {
  expect_equal_at_samples(load("resnet18", 64), 40);
}
TEST(PaperNetworkBits, CaffeNetAtSampledPositions) {
  expect_equal_at_samples(load("caffenet", 99), 40);
}
TEST(PaperNetworkBits, NinAtSampledPositions) {
  expect_equal_at_samples(load("nin", 96), 40);
}
TEST(PaperNetworkBits, VGG16At32) {
  expect_equal_at_samples(load("vgg16", 32), 40);
}
TEST(PaperNetworkBits, VGG16At224) {
  expect_equal_at_samples(load("vgg16"), 40);
}

}  // namespace
}  // namespace kintsugi

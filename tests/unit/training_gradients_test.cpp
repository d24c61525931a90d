// Gradients of every kind of layer, and of whole small networks, against central differences of a plain
// double-precision reference (tests/support/reference_training.h).
#include <gtest/gtest.h>

#include <cmath>

#include "common/diagnostics.h"
#include "common/thread_pool.h"
#include "tests/support/reference_training.h"
#include "tests/support/small_networks.h"
#include "training/batch_pass.h"

namespace kintsugi {
namespace {

using namespace kintsugi::testing;

struct Case {
  std::string name;
  int channels, height, width;
  std::vector<LayerConfig> layers;
  std::int64_t batch = 6;  // shards of 2, 2, 1 and 1 images
};

std::vector<Case> cases() {
  return {
      {"Linear", 1, 3, 4, {flatten(), linear("fc", 5)}},
      {"LinearWithoutBias", 1, 3, 4, {flatten(), linear("fc", 5, false)}},
      {"Relu", 1, 3, 4, {flatten(), linear("fc1", 9), relu(), linear("fc2", 5)}},
      {"FewerImagesThanShards", 1, 3, 4, {flatten(), linear("fc1", 9), relu(), linear("fc2", 5)}, 3},
      {"Convolution", 2, 6, 5, {conv("c", 3, 3), flatten(), linear("fc", 4)}},
      {"ConvolutionStridePadding",
       3,
       7,
       6,
       {conv("c", 4, 3, 2, 1), conv("d", 5, 3, 2, 1), flatten(), linear("fc", 4)}},
      {"ConvolutionGroups",
       4,
       5,
       5,
       {conv("c", 8, 3, 1, 1, 2), relu(), conv("d", 6, 1, 1, 0, 2), flatten(), linear("fc", 3)}},
      {"ConvolutionDepthwise",
       4,
       5,
       5,
       {conv("c", 4, 3, 1, 1, 4), relu(), conv("d", 8, 3, 2, 1, 1), flatten(), linear("fc", 3)}},
      {"ConvolutionUnevenStride", 2, 8, 8, {conv("c", 4, 3, 3, 0), flatten(), linear("fc", 3)}},
      // Enough channels for a matrix product per tap, on small maps and on one of a single pixel.
      {"WideConvolution",
       3,
       4,
       4,
       {conv("a", 32, 3, 1, 1), relu(), conv("b", 33, 3, 1, 1), batch_norm("n"), relu(), max_pool(2, 2),
        conv("c", 34, 3, 1, 1), max_pool(2, 2), conv("d", 32, 3, 1, 1), flatten(), linear("fc", 4)},
       5},
      {"BatchNormOnMap",
       2,
       5,
       5,
       {conv("c", 3, 3, 1, 1, 1, false), batch_norm("bn"), conv("d", 3, 3), flatten(), linear("fc", 4)}},
      {"BatchNormWithBias",
       2,
       5,
       5,
       {conv("c", 3, 3, 1, 1), batch_norm("bn"), relu(), flatten(), linear("fc", 4)}},
      {"BatchNormOnVector",
       1,
       3,
       4,
       {flatten(), linear("fc1", 7), batch_norm("bn"), relu(), linear("fc2", 4)}},
      {"MaxPool", 2, 6, 6, {conv("c", 3, 3, 1, 1), relu(), max_pool(2, 2), flatten(), linear("fc", 4)}},
      {"MaxPoolOverlapping", 2, 7, 7, {conv("c", 3, 3, 1, 1), max_pool(3, 2), flatten(), linear("fc", 4)}},
      {"MaxPoolPaddedAndRoundedUp",
       2,
       8,
       7,
       {conv("c", 3, 3, 1, 1), batch_norm("b"), relu(), padded_pool(3, 2, 1, true), conv("d", 4, 2),
        padded_pool(3, 2, 0, true), flatten(), linear("fc", 4)}},
      {"GlobalAverage", 2, 5, 6, {conv("c", 6, 3), relu(), global_average(), flatten(), linear("fc", 4)}},
      {"GlobalAverageLast", 2, 5, 6, {conv("c", 4, 3), global_average(), flatten()}},
      {"Dropout",
       2,
       4,
       4,
       {conv("c", 6, 3), relu(), dropout(0.4), flatten(), linear("fc1", 8), relu(), dropout(0.5),
        linear("fc2", 4)}},
      {"Everything",
       3,
       12,
       12,
       {conv("c1", 8, 3, 1, 1, 1, false), batch_norm("b1"), relu(), max_pool(2, 2), conv("c2", 8, 3, 1, 1, 2),
        batch_norm("b2"), relu(), max_pool(3, 2), dropout(0.2), flatten(), linear("f1", 16), batch_norm("b3"),
        relu(), linear("f2", 7)}},
      {"AddOfBranches",
       2,
       6,
       6,
       {conv("c", 4, 3, 1, 1), relu(), conv("d", 4, 3, 1, 1), reading(conv("e", 4, 1), "d"),
        add("s", "d", "e"), relu(), flatten(), linear("fc", 4)}},
      // What a sum reads twice, and a result of four readers, two of them sums.
      {"AddOfOneResultWithItself",
       2,
       5,
       5,
       {conv("c", 3, 3), add("s", "c", "c"), named(relu(), "r"), conv("d", 3, 3, 1, 1), add("t", "d", "r"),
        add("u", "t", "r"), reading(conv("e", 3, 1), "r"), add("v", "u", "e"), flatten(), linear("fc", 4)}},
      {"AddPooled",
       2,
       8,
       7,
       {conv("c", 4, 3, 1, 1), named(relu(), "r"), conv("d", 4, 3, 1, 1), add("s", "d", "r"), relu(),
        padded_pool(3, 2, 1, true), flatten(), linear("fc", 4)}},
      {"AddAveragedLast",
       2,
       5,
       6,
       {conv("c", 4, 3), named(relu(), "r"), conv("d", 4, 3, 1, 1), add("s", "d", "r"), relu(),
        global_average(), flatten()}},
      // Vectors, flattened from maps: both operands in the order C, H, W. With dropout on the way.
      {"AddOfVectors",
       2,
       4,
       4,
       {conv("c", 3, 3, 1, 1), relu(), max_pool(2, 2), dropout(0.3), named(flatten(), "f"), linear("fc1", 12),
        add("s", "fc1", "f"), relu(), dropout(0.2), linear("fc2", 4)}},
      // Two blocks of a residual network with batch-norm, the second with strides and a shortcut of its own.
      {"Residual",
       3,
       8,
       8,
       {conv("c1", 6, 3, 1, 1, 1, false),
        batch_norm("b1"),
        named(relu(), "r1"),
        conv("c2", 6, 3, 1, 1, 1, false),
        batch_norm("b2"),
        relu(),
        conv("c3", 6, 3, 1, 1, 1, false),
        batch_norm("b3"),
        add("s1", "b3", "r1"),
        named(relu(), "r2"),
        conv("c4", 8, 3, 2, 1, 1, false),
        batch_norm("b4"),
        relu(),
        conv("c5", 8, 3, 1, 1, 1, false),
        batch_norm("b5"),
        reading(conv("c6", 8, 1, 2, 0, 1, false), "r2"),
        batch_norm("b6"),
        add("s2", "b5", "b6"),
        relu(),
        global_average(),
        flatten(),
        linear("fc", 5)}},
      {"LocalResponseNorm",
       2,
       5,
       4,
       {conv("c", 7, 3), relu(), response_norm("n", 5, 0.8, 2), flatten(), linear("fc", 4)}},
      // An even window is not symmetric; this one is also wider than the map has channels.
      {"LocalResponseNormEvenWindow",
       2,
       6,
       5,
       {conv("c", 6, 3), response_norm("n", 4, 0.9), max_pool(2, 2), conv("d", 3, 1),
        response_norm("m", 8, 0.7), flatten(), linear("fc", 4)}},
      {"LocalResponseNormInAResidualBlock",
       2,
       6,
       6,
       {conv("c", 4, 3, 1, 1), relu(), response_norm("n", 3, 0.9), conv("d", 4, 3, 1, 1), batch_norm("b"),
        reading(response_norm("m", 3, 0.5), "n"), add("s", "b", "m"), relu(), dropout(0.2), flatten(),
        linear("fc", 4)}},
  };
}

class Gradients : public ::testing::TestWithParam<Case> {};

TEST_P(Gradients, AgreeWithCentralDifferences) {
  const Case& c = GetParam();
  const workloads::Network network = network_of(c.channels, c.height, c.width, c.layers);
  workloads::Parameters parameters = random_parameters(network, 11);
  common::ThreadPool pool(2);
  training::BatchPass pass(network, c.batch, pool, std::nullopt);

  common::RandomStream random(5, "test-input");
  std::vector<double> x(c.batch * network.input_shape().count());
  const std::int64_t pixels = c.height * c.width;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const auto value = static_cast<float>(random.uniform(-1, 1));
    x[i] = value;
    const std::int64_t n = static_cast<std::int64_t>(i);
    const std::int64_t b = n / (c.channels * pixels), ch = n / pixels % c.channels, p = n % pixels;
    const std::int64_t last = b * c.channels * pixels + p * c.channels + ch;
    pass.input()[network.stages[0].convolution ? last : n] = value;
  }
  std::vector<std::int32_t> labels;
  for (std::int64_t i = 0; i < c.batch; ++i) {
    labels.push_back(static_cast<std::int32_t>(random.below(static_cast<std::uint64_t>(network.classes))));
  }
  const ReferenceDropout dropout{3, "test", 17};

  DoubleParameters reference = to_double(parameters);
  DoubleParameters means, variances;
  const double expected = reference_loss(network, reference, x, labels, dropout, &means, &variances);
  const workloads::Parameters before = parameters;
  const double loss = pass.run(parameters, labels, {dropout.seed, dropout.stream, dropout.step});
  EXPECT_NEAR(loss, expected, 1e-5 * (1 + std::abs(expected)));

  for (const auto& [layer, values] : means) {
    for (std::size_t i = 0; i < values.size(); ++i) {
      EXPECT_NEAR(parameters.at(layer + ".running_mean").data[i],
                  0.9 * before.at(layer + ".running_mean").data[i] + 0.1 * values[i], 1e-5);
      EXPECT_NEAR(parameters.at(layer + ".running_var").data[i],
                  0.9 * before.at(layer + ".running_var").data[i] + 0.1 * variances.at(layer)[i], 1e-5);
    }
  }

  for (const auto& [name, tensor] : pass.gradients()) {
    std::vector<double>& values = reference.at(name);
    double largest = 0;
    for (const float g : tensor.data) largest = std::max(largest, std::abs(static_cast<double>(g)));
    // A bias before batch-norm has no effect; every other parameter has one.
    const bool dead = largest == 0;
    common::RandomStream pick(9, name);
    const std::size_t samples = std::min<std::size_t>(values.size(), 24);
    double seen = 0;
    for (std::size_t k = 0; k < samples; ++k) {
      const std::size_t i = samples == values.size() ? k : pick.below(values.size());
      const double kept = values[i], h = 1e-6;
      values[i] = kept + h;
      const double above = reference_loss(network, reference, x, labels, dropout);
      values[i] = kept - h;
      const double below = reference_loss(network, reference, x, labels, dropout);
      values[i] = kept;
      const double numeric = (above - below) / (2 * h);
      seen = std::max(seen, std::abs(numeric));
      EXPECT_NEAR(tensor.data[i], numeric, 1e-3 * std::abs(numeric) + 1e-4 * largest + 1e-8)
          << name << "[" << i << "]";
    }
    EXPECT_EQ(dead, seen < 1e-7) << name << ": a gradient of nothing but zeros proves nothing";
  }
}

INSTANTIATE_TEST_SUITE_P(Layers, Gradients, ::testing::ValuesIn(cases()),
                         [](const auto& parameter) { return parameter.param.name; });

// The same network and batch with both kinds of backward pass: operands rounded to 8 bits of mantissa move a
// gradient by less than one per cent of its length, and not by nothing.
TEST(Backward, InBfloat16IsTheFloatGradientRounded) {
  const workloads::Network network = network_of(
      3, 8, 7,
      {conv("a", 32, 3, 1, 1), batch_norm("n"), relu(), conv("b", 33, 3, 1, 1), relu(), max_pool(2, 2),
       conv("c", 34, 3, 2, 1), flatten(), linear("d", 36), relu(), linear("e", 32)});
  const workloads::Parameters start = random_parameters(network, 4);
  constexpr std::int64_t kBatch = 10;
  common::RandomStream random(6, "test-input");
  std::vector<float> x(kBatch * network.input_shape().count());
  for (float& value : x) value = static_cast<float>(random.uniform(-1, 1));
  std::vector<std::int32_t> labels(kBatch);
  for (auto& label : labels) label = static_cast<std::int32_t>(random.below(32));
  const auto gradients = [&](configs::Backward backward, int threads) {
    common::ThreadPool pool(threads);
    training::BatchPass pass(network, kBatch, pool, std::nullopt, backward);
    std::copy(x.begin(), x.end(), pass.input().begin());
    workloads::Parameters parameters = start;
    pass.run(parameters, labels, {0, "t", 0});
    return pass.gradients();
  };
  const workloads::Parameters exact = gradients(configs::Backward::f32, 1);
  workloads::Parameters rounded;
  try {
    rounded = gradients(configs::Backward::bf16, 1);
  } catch (const common::InputError& error) {
    GTEST_SKIP() << error.what();
  }
  EXPECT_EQ(rounded, gradients(configs::Backward::bf16, 3));
  for (const auto& [name, tensor] : exact) {
    double length = 0, change = 0;
    for (std::size_t i = 0; i < tensor.data.size(); ++i) {
      length += std::pow(tensor.data[i], 2);
      change += std::pow(tensor.data[i] - rounded.at(name).data[i], 2);
    }
    EXPECT_LE(std::sqrt(change), 0.01 * std::sqrt(length)) << name;
    const bool behind_float_only = name == "e.bias";
    EXPECT_EQ(change == 0, behind_float_only || length == 0) << name;
  }
}

}  // namespace
}  // namespace kintsugi

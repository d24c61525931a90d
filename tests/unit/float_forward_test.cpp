// Float inference against direct loops in double precision, over random stages; its independence of threads;
// and the checks and first values of parameters. PyTorch's own logits are in tests/golden/pytorch_test.cpp.
#include "workloads/float_forward.h"

#include <gmock/gmock.h>

#include <cmath>
#include <cstring>

#include "common/random.h"
#include "common/thread_pool.h"
#include "tests/support/input_error.h"

namespace kintsugi::workloads {
namespace {

using configs::LayerConfig;
using configs::LayerKind;
using test::input_error;
using testing::HasSubstr;
using testing::Not;

configs::NetworkConfig empty_network(int channels, int height, int width) {
  configs::NetworkConfig config;
  config.name = "n";
  config.input.channels = channels;
  config.input.height = height;
  config.input.width = width;
  return config;
}

LayerConfig layer(LayerKind kind, const std::string& name = "", int out = 0) {
  LayerConfig config;
  config.kind = kind;
  config.name = name;
  config.out = out;
  return config;
}

Parameters random_parameters(const Network& network, std::uint64_t seed) {
  Parameters parameters = initial_parameters(network, seed);
  common::RandomStream random(seed, "test-parameters");
  for (auto& [name, tensor] : parameters)
    for (float& v : tensor.data) v = static_cast<float>(random.uniform(name.ends_with("_var") ? 0.1 : -1, 1));
  return parameters;
}

Tensor<float> random_input(const Network& network, std::int64_t batch, std::uint64_t seed) {
  Tensor<float> input({batch, network.input.channels, network.input.height, network.input.width});
  common::RandomStream random(seed, "test-input");
  for (float& v : input.data) v = static_cast<float>(random.uniform(-1, 1));
  return input;
}

// One image through one stage, straight from the definitions.
std::vector<double> naive_stage(const Stage& stage, const Parameters& parameters,
                                const std::vector<double>& in, std::vector<double>* before_average) {
  const std::vector<float>& weight = parameters.at(stage.name + ".weight").data;
  const std::int64_t in_c = stage.in.channels / stage.groups, out_c = stage.gemm_out.channels / stage.groups;
  std::vector<double> map;
  for (std::int64_t o = 0; o < stage.gemm_out.channels; ++o)
    for (std::int64_t oy = 0; oy < stage.gemm_out.height; ++oy)
      for (std::int64_t ox = 0; ox < stage.gemm_out.width; ++ox) {
        double sum = stage.bias ? parameters.at(stage.name + ".bias").data[o] : 0;
        for (std::int64_t i = 0; i < in_c; ++i)
          for (std::int64_t ky = 0; ky < stage.kernel; ++ky)
            for (std::int64_t kx = 0; kx < stage.kernel; ++kx) {
              const std::int64_t y = oy * stage.stride + ky - stage.padding,
                                 x = ox * stage.stride + kx - stage.padding;
              if (y < 0 || y >= stage.in.height || x < 0 || x >= stage.in.width) continue;
              const std::int64_t c = o / out_c * in_c + i;
              sum += in[(c * stage.in.height + y) * stage.in.width + x] *
                     weight[((o * in_c + i) * stage.kernel + ky) * stage.kernel + kx];
            }
        if (stage.batch_norm) {
          const auto part = [&](const char* name) {
            return static_cast<double>(parameters.at(stage.batch_norm->name + name).data[o]);
          };
          sum = (sum - part(".running_mean")) / std::sqrt(part(".running_var") + stage.batch_norm->eps) *
                    part(".weight") +
                part(".bias");
        }
        map.push_back(stage.relu ? std::max(sum, 0.0) : sum);
      }
  const std::int64_t h = stage.gemm_out.height, w = stage.gemm_out.width;
  if (stage.global_avg_pool && before_average != nullptr)
    before_average->insert(before_average->end(), map.begin(), map.end());
  if (!stage.global_avg_pool && !stage.max_pool) return map;
  std::vector<double> out;
  for (std::int64_t c = 0; c < stage.gemm_out.channels; ++c)
    for (std::int64_t oy = 0; oy < stage.out.height; ++oy)
      for (std::int64_t ox = 0; ox < stage.out.width; ++ox) {
        const std::int64_t kh = stage.max_pool ? stage.max_pool->kernel : h,
                           kw = stage.max_pool ? stage.max_pool->kernel : w;
        const std::int64_t step = stage.max_pool ? stage.max_pool->stride : 1;
        double best = -1e300, sum = 0;
        for (std::int64_t y = 0; y < kh; ++y)
          for (std::int64_t x = 0; x < kw; ++x) {
            const double v = map[(c * h + oy * step + y) * w + ox * step + x];
            best = std::max(best, v);
            sum += v;
          }
        out.push_back(stage.max_pool ? best : sum / static_cast<double>(h * w));
      }
  return out;
}

// A random network of one to three convolutions (with every option drawn) and a classifier.
Network random_network(std::uint64_t seed) {
  common::RandomStream random(seed, "test-network");
  const auto draw = [&](int low, int high) { return low + static_cast<int>(random.below(high - low + 1)); };
  configs::NetworkConfig config = empty_network(2 * draw(1, 2), draw(7, 12), draw(7, 12));
  const int convolutions = draw(1, 3);
  int least = std::min(config.input.height, config.input.width);
  bool averaged = false;
  for (int i = 0; i < convolutions && !averaged; ++i) {
    LayerConfig conv = layer(LayerKind::conv2d, "c" + std::to_string(i), 2 * draw(1, 4));
    conv.kernel = draw(1, std::min(3, least));
    conv.stride = draw(1, 2);
    conv.padding = draw(0, conv.kernel - 1);
    conv.groups = draw(1, 2);
    conv.bias = draw(0, 1) == 1;
    config.layers.push_back(conv);
    least = (least + 2 * conv.padding - conv.kernel) / conv.stride + 1;
    if (draw(0, 1) == 1) config.layers.push_back(layer(LayerKind::batch_norm, "b" + std::to_string(i)));
    if (draw(0, 2) > 0) config.layers.push_back(layer(LayerKind::relu));
    if (draw(0, 3) == 0) {
      config.layers.push_back(layer(LayerKind::global_avg_pool));
      averaged = true;
    } else if (draw(0, 1) == 1 && least >= 2) {
      LayerConfig pool = layer(LayerKind::max_pool);
      pool.kernel = draw(1, std::min(3, least));
      pool.stride = draw(1, 2);
      config.layers.push_back(pool);
      least = (least - pool.kernel) / pool.stride + 1;
    }
    if (draw(0, 3) == 0) config.layers.push_back(layer(LayerKind::dropout));
  }
  config.layers.push_back(layer(LayerKind::flatten));
  config.layers.push_back(layer(LayerKind::linear, "fc", draw(2, 7)));
  return build_network(config);
}

TEST(FloatForward, AgreesWithDirectLoopsOnRandomNetworks) {
  for (std::uint64_t seed = 0; seed < 150; ++seed) {
    SCOPED_TRACE(seed);
    const Network network = random_network(seed);
    const Parameters parameters = random_parameters(network, seed);
    const std::int64_t batch = 1 + static_cast<std::int64_t>(seed % 3);
    const Tensor<float> input = random_input(network, batch, seed);

    std::vector<std::vector<double>> expected_inputs(network.stages.size());
    std::vector<std::vector<double>> expected_sums(network.stages.size());
    std::vector<double> expected_logits;
    for (std::int64_t b = 0; b < batch; ++b) {
      const std::int64_t n = network.input_shape().count();
      std::vector<double> values(input.data.begin() + b * n, input.data.begin() + (b + 1) * n);
      for (std::size_t s = 0; s < network.stages.size(); ++s) {
        expected_inputs[s].insert(expected_inputs[s].end(), values.begin(), values.end());
        values = naive_stage(network.stages[s], parameters, values, &expected_sums[s]);
      }
      expected_logits.insert(expected_logits.end(), values.begin(), values.end());
    }

    const auto compare = [](std::span<const float> found, const std::vector<double>& expected) {
      ASSERT_EQ(found.size(), expected.size());
      for (std::size_t i = 0; i < found.size(); ++i)
        ASSERT_NEAR(found[i], expected[i], 1e-4 * (1 + std::abs(expected[i]))) << "at " << i;
    };
    std::size_t inputs_seen = 0, sums_seen = 0, sums_wanted = 0;
    for (const Stage& stage : network.stages) sums_wanted += stage.global_avg_pool ? 1 : 0;
    const Tensor<float> logits = float_forward(
        network, parameters, input, [&](std::size_t s, std::span<const float> values, Observed what) {
          SCOPED_TRACE(s);
          if (what == Observed::input) {
            EXPECT_EQ(s, inputs_seen++);
            compare(values, expected_inputs[s]);
          } else {
            ++sums_seen;
            compare(values, expected_sums[s]);
          }
        });
    EXPECT_EQ(inputs_seen, network.stages.size());
    EXPECT_EQ(sums_seen, sums_wanted);
    EXPECT_EQ(logits.shape, (std::vector<std::int64_t>{batch, network.classes}));
    compare(logits.data, expected_logits);
  }
}

TEST(FloatForward, SameBytesForAnyNumberOfThreads) {
  const Network network = build_network(
      configs::read_network(std::string(KINTSUGI_SOURCE_DIR) + "/configs/networks/small_cnn.yaml"));
  const Parameters parameters = random_parameters(network, 3);
  const Tensor<float> input = random_input(network, 70, 3);  // two full blocks and a part
  const Tensor<float> alone = float_forward(network, parameters, input);
  for (const int threads : {1, 2, 3, 7}) {
    common::ThreadPool pool(threads);
    const Tensor<float> shared = float_forward(network, parameters, input, {}, &pool);
    EXPECT_EQ(std::memcmp(alone.data.data(), shared.data.data(), alone.data.size() * sizeof(float)), 0)
        << threads << " threads";
  }
}

Network small_network() {
  configs::NetworkConfig config = empty_network(2, 4, 4);
  LayerConfig conv = layer(LayerKind::conv2d, "conv", 6);
  conv.kernel = 3;
  conv.groups = 2;
  config.layers = {conv, layer(LayerKind::batch_norm, "bn"), layer(LayerKind::flatten),
                   layer(LayerKind::linear, "fc", 3)};
  config.layers[0].bias = false;
  return build_network(config);
}

TEST(Parameters, CheckListsEveryProblem) {
  const Network network = small_network();
  Parameters parameters = initial_parameters(network, 1);
  EXPECT_NO_THROW(check_parameters(network, parameters, "w.safetensors"));
  parameters["bn.num_batches_tracked"] = Tensor<float>({1});
  EXPECT_NO_THROW(check_parameters(network, parameters, "w.safetensors"));

  parameters.erase("fc.bias");
  parameters["fc.baas"] = Tensor<float>({3});
  parameters["conv.weight"] = Tensor<float>({6, 2, 3, 3});
  parameters["bn.running_var"].data[2] = -1;
  const std::string text = input_error([&] { check_parameters(network, parameters, "w.safetensors"); });
  EXPECT_THAT(text,
              HasSubstr("w.safetensors: error: 'fc.bias' of shape (3) is missing; there is a 'fc.baas'"));
  EXPECT_THAT(text, HasSubstr("'conv.weight' has shape (6, 2, 3, 3), the network 'n' needs (6, 1, 3, 3)"));
  EXPECT_THAT(text, HasSubstr("'bn.running_var' holds a negative variance"));
  EXPECT_THAT(text, HasSubstr("'fc.baas' belongs to no layer"));
  EXPECT_THAT(text, Not(HasSubstr("tracked")));
}

TEST(Parameters, InitialValuesAreThoseOfPyTorch) {
  const Network network = small_network();
  const Parameters parameters = initial_parameters(network, 1);
  EXPECT_EQ(parameters.size(), 7u);
  // Uniform within ±1/√fan_in: nothing outside, and the range is used.
  const auto check = [&](const char* name, double bound, double at_least) {
    double largest = 0, sum = 0;
    for (const float v : parameters.at(name).data) {
      largest = std::max(largest, static_cast<double>(std::abs(v)));
      sum += v;
    }
    EXPECT_LE(largest, bound) << name;
    EXPECT_GE(largest, at_least * bound) << name;
    const bool many = parameters.at(name).data.size() > 20;  // enough for their mean to say something
    EXPECT_LT(std::abs(sum) / static_cast<double>(parameters.at(name).data.size()), (many ? 0.5 : 1) * bound)
        << name;
  };
  check("conv.weight", 1.0 / 3, 0.9);
  check("fc.weight", 1 / std::sqrt(24.0), 0.9);
  check("fc.bias", 1 / std::sqrt(24.0), 0.1);
  EXPECT_EQ(parameters.at("bn.weight").data, std::vector<float>(6, 1.0f));
  EXPECT_EQ(parameters.at("bn.bias").data, std::vector<float>(6, 0.0f));
  EXPECT_EQ(parameters.at("bn.running_mean").data, std::vector<float>(6, 0.0f));
  EXPECT_EQ(parameters.at("bn.running_var").data, std::vector<float>(6, 1.0f));
  EXPECT_EQ(initial_parameters(network, 1), parameters);
  EXPECT_NE(initial_parameters(network, 2), parameters);
}

}  // namespace
}  // namespace kintsugi::workloads

// Deploying a network: quantised weights, requantisation records at their edges, calibration, the file.
#include "workloads/deployed.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "common/files.h"
#include "tests/support/input_error.h"
#include "tests/support/integer_reference.h"
#include "tests/support/small_networks.h"
#include "tests/support/temporary_folder.h"
#include "workloads/float_forward.h"
#include "workloads/safetensors.h"

namespace kintsugi {
namespace {

using namespace kintsugi::testing;  // builders of small networks
using test::input_error;
using ::testing::HasSubstr;
using workloads::Tensor;

TEST(QuantizeWeight, scales_each_output_channel_by_its_largest_weight) {
  const Tensor<float> weight({3, 2}, {0.5f, -1.27f, 0.f, 0.f, 2.54f, 0.03f});
  std::vector<float> scales;
  Tensor<std::int8_t> q;
  workloads::quantize_weight(weight, scales, q);
  EXPECT_FLOAT_EQ(scales[0], 0.01f);
  EXPECT_EQ(scales[1], 1.f);  // all zero
  EXPECT_FLOAT_EQ(scales[2], 0.02f);
  EXPECT_EQ(q.data, (std::vector<std::int8_t>{50, -127, 0, 0, 127, 2}));  // 1.5 goes to the even 2
  EXPECT_EQ(q.shape, weight.shape);
}

TEST(DeviceWeight, lies_as_the_rows_and_columns_of_the_array_read_it) {
  const auto network = network_of(4, 3, 3, {conv("c", 6, 2, 1, 0, 2), flatten(), linear("f", 2)});
  const workloads::Stage& stage = network.stages[0];
  Tensor<std::int8_t> w({6, 2, 2, 2});
  for (std::size_t i = 0; i < w.data.size(); ++i) w.data[i] = static_cast<std::int8_t>(i);
  const auto device = workloads::device_weight(stage, w);
  for (int g = 0; g < 2; ++g)
    for (int n = 0; n < 3; ++n)
      for (int ky = 0; ky < 2; ++ky)
        for (int kx = 0; kx < 2; ++kx)
          for (int ci = 0; ci < 2; ++ci) {
            const int k = (ky * 2 + kx) * 2 + ci;
            ASSERT_EQ(device[g * 8 * 3 + k * 3 + n], w.data[(((g * 3 + n) * 2 + ci) * 2 + ky) * 2 + kx]);
          }
}

// A linear layer with batch-norm in front of another layer; channel by channel a corner of the number range.
class DeployEdges : public ::testing::Test {
 protected:
  workloads::Network network_ =
      network_of(1, 1, 2, {flatten(), linear("a", 5), batch_norm("bn"), linear("b", 2)});
  workloads::Parameters parameters_ = {
      {"a.weight", Tensor<float>({5, 2}, {1.f, -0.5f, 0.3f, 0.2f, 0.f, 0.f, 0.7f, 0.1f, 0.4f, -0.4f})},
      {"a.bias", Tensor<float>({5}, {0.1f, -0.2f, 0.3f, 0.f, 5.f})},
      {"bn.weight", Tensor<float>({5}, {-1.5f, 0.f, 2.f, 1e-12f, 3.f})},
      {"bn.bias", Tensor<float>({5}, {0.25f, -0.75f, 0.5f, 1.f, -2.f})},
      {"bn.running_mean", Tensor<float>({5}, {0.5f, 1.f, -1.f, 0.f, 0.2f})},
      {"bn.running_var", Tensor<float>({5}, {0.25f, 1.f, 4.f, 1.f, 1e-4f})},
      {"b.weight", Tensor<float>({2, 5}, std::vector<float>(10, 0.1f))},
      {"b.bias", Tensor<float>({2}, {0.f, 1.f})}};
  workloads::ActivationScales scales_{{0.02f, 0.01f}, {0.f, 0.f}};
};

TEST_F(DeployEdges, requantises_to_the_nearest_step_for_every_sign_of_gamma) {
  const auto deployed = workloads::deploy(network_, parameters_, scales_);
  const workloads::DeployedStage& stage = deployed.stages[0];
  ASSERT_EQ(stage.requantization.size(), 5u);
  common::RandomStream random(1, "acc");
  for (int c = 0; c < 5; ++c) {
    const array::Requantization& r = stage.requantization[c];
    EXPECT_GE(r.shift, 1);
    EXPECT_LE(r.shift, 62);
    const double gamma = parameters_.at("bn.weight").data[c], beta = parameters_.at("bn.bias").data[c];
    const double mean = parameters_.at("bn.running_mean").data[c],
                 var = parameters_.at("bn.running_var").data[c];
    const double bias = parameters_.at("a.bias").data[c];
    double largest = 0;
    for (int i = 0; i < 2; ++i)
      largest = std::max(largest, std::fabs(double{parameters_.at("a.weight").data[c * 2 + i]}));
    const double scale = largest == 0 ? 1 : static_cast<double>(static_cast<float>(largest) / 127.f);
    for (int i = 0; i < 2000; ++i) {
      const auto acc = static_cast<std::int32_t>(random.below(64517)) - 32258;  // 2 · 127 · 127
      const double y = gamma * (acc * double{0.02f} * scale + bias - mean) / std::sqrt(var + 1e-5) + beta;
      const double exact = std::clamp(y / 0.01f, -127.0, 127.0);
      const int q = test::floor_requantized(acc, r, false);
      ASSERT_LE(std::fabs(q - exact), 0.5 + 1e-5) << "channel " << c << " acc " << acc;
      ASSERT_EQ(q, array::requantize(acc, r, false));
    }
  }
  EXPECT_LT(stage.requantization[0].multiplier, -(1 << 30) + 1);  // negative γ
  EXPECT_EQ(stage.requantization[1].multiplier, 0);               // zero γ: the bias alone
  EXPECT_EQ(array::requantize(12345, stage.requantization[1], false), -75);
  EXPECT_GE(stage.requantization[2].multiplier, 1 << 30);
  EXPECT_GE(stage.requantization[4].multiplier, 1 << 30);
}

TEST_F(DeployEdges, no_sum_leaves_64_bits) {
  common::RandomStream random(2, "extremes");
  for (int i = 0; i < 300; ++i) {
    for (int c = 0; c < 5; ++c) {
      parameters_.at("bn.weight").data[c] =
          static_cast<float>(std::exp(random.uniform(-60, 12)) * (random.below(2) == 0 ? 1 : -1));
      parameters_.at("bn.bias").data[c] =
          static_cast<float>(std::exp(random.uniform(-40, 15)) * (random.below(2) == 0 ? 1 : -1));
    }
    const auto deployed = workloads::deploy(network_, parameters_, scales_);
    for (const array::Requantization& r : deployed.stages[0].requantization) {
      ASSERT_GE(r.shift, 1);
      ASSERT_LE(r.shift, 62);
      for (const std::int32_t acc :
           {std::numeric_limits<std::int32_t>::min(), std::numeric_limits<std::int32_t>::max()}) {
        const __int128 sum = static_cast<__int128>(acc) * r.multiplier + r.offset;
        ASSERT_LE(sum, static_cast<__int128>(std::numeric_limits<std::int64_t>::max()));
        ASSERT_GE(sum, static_cast<__int128>(std::numeric_limits<std::int64_t>::min()));
      }
    }
  }
}

TEST_F(DeployEdges, refuses_what_no_record_can_hold_and_names_the_channel) {
  parameters_.at("bn.weight").data[2] = 1e30f;
  EXPECT_THAT(input_error([&] { workloads::deploy(network_, parameters_, scales_); }),
              HasSubstr("a, channel 2: one step of the accumulator"));
  parameters_.at("bn.weight").data[2] = std::nanf("");
  EXPECT_THAT(input_error([&] { workloads::deploy(network_, parameters_, scales_); }),
              HasSubstr("a, channel 2: the weights or batch-norm statistics are not finite"));
}

TEST_F(DeployEdges, masks_before_scales_are_taken) {
  workloads::Masks masks;
  masks["a.weight"] = Tensor<std::uint8_t>({5, 2}, {0, 1, 1, 1, 1, 1, 0, 0, 1, 1});
  const auto deployed = workloads::deploy(network_, parameters_, scales_, masks);
  EXPECT_EQ(deployed.stages[0].weight.data[0], 0);
  EXPECT_EQ(deployed.stages[0].weight.data[1], -127);  // the largest that is left
  EXPECT_EQ(deployed.stages[0].weight.data[6], 0);
  EXPECT_EQ(deployed.stages[0].weight.data[7], 0);
}

TEST(Calibrate, takes_the_largest_magnitude_or_a_percentile_of_every_stage_input) {
  const auto network = network_of(2, 8, 8,
                                  {conv("c1", 4, 3), relu(), max_pool(2, 2), conv("c2", 6, 2), relu(),
                                   global_average(), flatten(), linear("f", 3)});
  const auto parameters = random_parameters(network, 5);
  const auto images = random_images(600, network.input_shape(), 3, 5);
  configs::QuantizationConfig config;
  config.images = 530;  // not a multiple of the batch

  // All magnitudes of one forward pass over the first 530 images.
  std::vector<std::vector<float>> seen(3), averaged(3);
  Tensor<float> batch({530, 2, 8, 8});
  workloads::normalize(images, 0, 530, network.input, batch.data);
  workloads::float_forward(network, parameters, batch,
                           [&](std::size_t s, std::span<const float> v, workloads::Observed what) {
                             auto& to = (what == workloads::Observed::input ? seen : averaged)[s];
                             for (const float x : v) to.push_back(std::fabs(x));
                           });
  for (auto* sets : {&seen, &averaged})
    for (auto& values : *sets) std::ranges::sort(values);

  const auto minmax = workloads::calibrate(network, parameters, images, config);
  for (std::size_t s = 0; s < 3; ++s) EXPECT_FLOAT_EQ(minmax.input[s], seen[s].back() / 127.f);
  EXPECT_FLOAT_EQ(minmax.before_average[1], averaged[1].back() / 127.f);
  EXPECT_EQ(minmax.before_average[0], 0.f);

  config.method = configs::ScaleMethod::percentile;
  config.percentile = 90;
  const auto percentile = workloads::calibrate(network, parameters, images, config);
  for (std::size_t s = 0; s < 3; ++s) {
    const float want =
        seen[s][static_cast<std::size_t>(std::ceil(0.9 * static_cast<double>(seen[s].size()))) - 1];
    EXPECT_NEAR(percentile.input[s], want / 127.f, want / 127.f * 0.002);
    EXPECT_LT(percentile.input[s], minmax.input[s]);
  }
}

class DeployedFile : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto images = random_images(50, network_.input_shape(), 3, 6);
    const auto parameters = random_parameters(network_, 6);
    deployed_ =
        workloads::deploy(network_, parameters, workloads::calibrate(network_, parameters, images, {}));
    deployed_.rows = 2;
    deployed_.cols = 3;
    deployed_.bypass = {0, 1, 0, 0, 0, 1};
    workloads::write_deployed(file_, network_, deployed_);
  }
  // Reads, changes, writes, reads again: the message.
  template <class Change>
  std::string message_after(Change&& change) {
    workloads::SafeTensors content = workloads::read_safetensors(file_);
    change(content);
    const auto changed = folder_ / "changed.safetensors";
    workloads::write_safetensors(changed, content);
    return input_error([&] { workloads::read_deployed(changed, network_); });
  }
  template <class T>
  static Tensor<T>& at(workloads::SafeTensors& content, const std::string& name) {
    return std::get<Tensor<T>>(content.tensors.at(name));
  }

  workloads::Network network_ =
      network_of(1, 6, 6,
                 {conv("c1", 3, 3), batch_norm("bn"), relu(), max_pool(2, 2), conv("c2", 4, 2), relu(),
                  global_average(), flatten(), linear("f", 3)});
  workloads::DeployedNetwork deployed_;
  test::TemporaryFolder folder_;
  std::filesystem::path file_ = folder_ / "deployed.safetensors";
};

TEST_F(DeployedFile, comes_back_as_it_was) {
  const auto back = workloads::read_deployed(file_, network_);
  ASSERT_EQ(back.stages.size(), deployed_.stages.size());
  for (std::size_t s = 0; s < back.stages.size(); ++s) {
    EXPECT_EQ(back.stages[s].weight, deployed_.stages[s].weight);
    EXPECT_EQ(back.stages[s].input_scale, deployed_.stages[s].input_scale);
    EXPECT_EQ(back.stages[s].requantization, deployed_.stages[s].requantization);
    EXPECT_EQ(back.stages[s].output_scale, deployed_.stages[s].output_scale);
    EXPECT_EQ(back.stages[s].output_bias, deployed_.stages[s].output_bias);
    EXPECT_EQ(back.stages[s].average, deployed_.stages[s].average);
  }
  EXPECT_EQ(back.bypass, deployed_.bypass);
  EXPECT_EQ(back.rows, 2);
  EXPECT_EQ(back.cols, 3);
  EXPECT_TRUE(workloads::is_deployed(file_));
  workloads::write_deployed(folder_ / "again.safetensors", network_, back);
  EXPECT_EQ(common::read_file(folder_ / "again.safetensors"), common::read_file(file_));
}

TEST_F(DeployedFile, float_weights_are_not_a_deployed_file) {
  const auto weights = folder_ / "weights.safetensors";
  workloads::write_parameters(weights, random_parameters(network_, 6));
  EXPECT_FALSE(workloads::is_deployed(weights));
  EXPECT_THAT(input_error([&] { workloads::read_deployed(weights, network_); }),
              HasSubstr("this is not a deployed network"));
}

TEST_F(DeployedFile, zero_points_of_zero_are_accepted_and_others_refused) {
  workloads::SafeTensors content = workloads::read_safetensors(file_);
  content.tensors["c1.zero_point"] = Tensor<std::int32_t>({3}, {0, 0, 0});
  workloads::write_safetensors(folder_ / "zero.safetensors", content);
  EXPECT_NO_THROW(workloads::read_deployed(folder_ / "zero.safetensors", network_));
  EXPECT_THAT(message_after([&](auto& c) {
                c.tensors["c1.zero_point"] = Tensor<std::int32_t>({3}, {0, 4, 0});
              }),
              HasSubstr("tensor 'c1.zero_point' holds 4 at element 1; only zero points of 0"));
}

TEST_F(DeployedFile, lists_everything_that_is_wrong) {
  const std::string text = message_after([&](workloads::SafeTensors& c) {
    at<std::int32_t>(c, "c1.shift").data[1] = 63;
    at<std::int64_t>(c, "c1.offset").data[2] = std::numeric_limits<std::int64_t>::max();
    at<std::int32_t>(c, "c2.multiplier").data[0] = std::numeric_limits<std::int32_t>::min();
    at<float>(c, "c2.input_scale").data[0] = 0;
    at<std::int8_t>(c, "f.weight").data[5] = -128;
    at<std::uint8_t>(c, "bypass").data[3] = 2;
    c.tensors.erase("f.output_bias");
    c.tensors["extra"] = Tensor<float>({1}, {1.f});
  });
  for (const char* part :
       {"tensor 'c1.shift' holds 63 at element 1; allowed is 1 … 62",
        "tensor 'c1.offset' holds 9223372036854775807 at element 2",
        "tensor 'c2.multiplier' holds -2147483648",
        "tensor 'c2.input_scale' holds 0; a scale must be a positive finite number",
        "tensor 'f.weight' holds -128 at element 5", "tensor 'bypass' holds 2 at element 3",
        "tensor 'f.output_bias' is missing; expected F32 of shape [3]",
        "tensor 'extra' does not belong to this network's deployed form"})
    EXPECT_THAT(text, HasSubstr(part));
}

TEST_F(DeployedFile, another_networks_file_is_refused) {
  const auto other = network_of(1, 6, 6,
                                {conv("c1", 5, 3), batch_norm("bn"), relu(), max_pool(2, 2), conv("c2", 4, 2),
                                 relu(), global_average(), flatten(), linear("f", 3)});
  EXPECT_THAT(input_error([&] { workloads::read_deployed(file_, other); }),
              HasSubstr("tensor 'c1.weight' is I8 of shape [3, 1, 3, 3]; expected I8 of shape [5, 1, 3, 3]"));
}

class DeployedResidual : public DeployedFile {
 protected:
  DeployedResidual() {
    network_ = network_of(2, 7, 6,
                          {conv("c1", 4, 3, 1, 1), relu(), response_norm("n", 3, 0.5), conv("c2", 4, 1),
                           add("s", "c2", "n"), relu(), global_average(), flatten(), linear("f", 3)});
  }
};

TEST_F(DeployedResidual, comes_back_as_it_was) {
  const auto back = workloads::read_deployed(file_, network_);
  ASSERT_TRUE(back.stages[3].add.has_value());
  EXPECT_EQ(back.stages[3].add, deployed_.stages[3].add);
  EXPECT_EQ(back.stages[3].average, deployed_.stages[3].average);
  EXPECT_EQ(back.stages[1].input_scale, deployed_.stages[1].input_scale);
  EXPECT_EQ(back.stages[1].result_scale, deployed_.stages[1].result_scale);
  workloads::write_deployed(folder_ / "again.safetensors", network_, back);
  EXPECT_EQ(common::read_file(folder_ / "again.safetensors"), common::read_file(file_));
}

TEST_F(DeployedResidual, lists_everything_that_is_wrong) {
  const std::string text = message_after([&](workloads::SafeTensors& c) {
    at<std::int32_t>(c, "s.shift").data[0] = 0;
    at<std::int64_t>(c, "s.offset").data[0] = std::numeric_limits<std::int64_t>::min();
    at<std::int32_t>(c, "s.multiplier").data[1] = std::numeric_limits<std::int32_t>::min();
    at<float>(c, "n.result_scale").data[0] = -1;
    c.tensors.erase("n.input_scale");
  });
  for (const char* part :
       {"tensor 's.shift' holds 0 at element 0; allowed is 1 … 62", "tensor 's.offset' holds -9223",
        "tensor 's.multiplier' holds -2147483648 at element 1", "tensor 'n.result_scale' holds -1",
        "tensor 'n.input_scale' is missing"})
    EXPECT_THAT(text, HasSubstr(part));
}

TEST(ResidualAdd, rounds_the_real_sum_with_ties_upwards) {
  // Scales 1 and 1, result in steps of 2: (a + b) / 2.
  const auto halves = workloads::choose_residual_add(1, 1, 2, "s");
  for (const auto& [a, b, want] : {std::array{1, 0, 1},
                                   {-1, 0, 0},
                                   {3, 0, 2},
                                   {-3, 0, -1},
                                   {127, 127, 127},
                                   {-127, -127, -127},
                                   {127, -126, 1},
                                   {-127, 126, 0}})
    EXPECT_EQ(array::residual_add(static_cast<std::int8_t>(a), static_cast<std::int8_t>(b), halves, false),
              want)
        << a << " + " << b;
  EXPECT_EQ(array::residual_add(-100, 20, halves, true), 0);
  const auto sums = workloads::choose_residual_add(1, 1, 1, "s");
  EXPECT_EQ(array::residual_add(100, 100, sums, false), 127);
  EXPECT_EQ(array::residual_add(-100, -100, sums, false), -127);

  common::RandomStream random(3, "residual-add");
  for (int round = 0; round < 200; ++round) {
    const double scale_a = std::exp(random.uniform(-8, 8)),
                 scale_b = scale_a * std::exp(random.uniform(-6, 6)),
                 scale_out = std::max(scale_a, scale_b) * std::exp(random.uniform(-1, 3));
    const auto record = workloads::choose_residual_add(scale_a, scale_b, scale_out, "s");
    for (int i = 0; i < 50; ++i) {
      const int a = static_cast<int>(random.below(255)) - 127, b = static_cast<int>(random.below(255)) - 127;
      const double exact = (a * scale_a + b * scale_b) / scale_out;
      const int q =
          array::residual_add(static_cast<std::int8_t>(a), static_cast<std::int8_t>(b), record, false);
      EXPECT_LE(std::fabs(q - std::clamp(exact, -127.0, 127.0)), 0.5 + 1e-6) << a << ", " << b;
    }
  }
}

TEST(ResidualAdd, refuses_scales_that_no_shift_can_express) {
  EXPECT_THAT(input_error([] { workloads::choose_residual_add(1, 1e-3, 1e-12, "sum"); }),
              HasSubstr("sum: operands with scales 1 and 0.001 cannot be added"));
}

}  // namespace
}  // namespace kintsugi

// Networks from layer lists: sizes against hand-worked ones, and each way a list cannot be a network.
#include "workloads/network.h"

#include <gmock/gmock.h>

#include <algorithm>

#include "common/files.h"
#include "tests/support/input_error.h"
#include "tests/support/temporary_folder.h"

namespace kintsugi::workloads {
namespace {

using test::input_error;
using testing::AllOf;
using testing::HasSubstr;

class Networks : public testing::Test {
 protected:
  Network build(const std::string& layers, const std::string& input = "{channels: 3, height: 8, width: 8}") {
    common::write_file_atomic(folder_ / "n.yaml",
                              "network:\n  name: n\n  input: " + input + "\n  layers:\n" + layers);
    return build_network(configs::read_network(folder_ / "n.yaml"));
  }
  std::string refusal(const std::string& layers) {
    return input_error([&] { build(layers); });
  }
  test::TemporaryFolder folder_;
};

const std::filesystem::path kNetworks = std::filesystem::path(KINTSUGI_SOURCE_DIR) / "configs/networks";

TEST_F(Networks, ShippedNetworksHaveTheirKnownSizes) {
  const auto load = [](const char* name) { return build_network(configs::read_network(kNetworks / name)); };
  const Network mlp = load("fap_mlp.yaml");
  EXPECT_EQ(mlp.parameter_count(), 784 * 256 + 256 + 2 * (256 * 256 + 256) + 256 * 10 + 10);
  ASSERT_EQ(mlp.stages.size(), 4u);
  EXPECT_EQ(mlp.stages[0].in.channels, 784);
  EXPECT_TRUE(mlp.stages[2].relu);
  EXPECT_FALSE(mlp.stages[3].relu);
  EXPECT_EQ(mlp.classes, 10);

  EXPECT_EQ(load("lenet5.yaml").parameter_count(), 61706);  // as published for LeNet-5 with full connections

  const Network cnn = load("small_cnn.yaml");
  EXPECT_EQ(cnn.parameter_count(), 32 * 9 + 64 + 64 * 32 * 9 + 128 + 3136 * 256 + 256 + 2560 + 10);
  const bool fills = std::any_of(cnn.stages.begin(), cnn.stages.end(), [](const Stage& stage) {
    const array::LayerShape shape = stage.layer_shape(1);
    return shape.k() >= 256 && shape.n() >= 256;
  });
  EXPECT_TRUE(fills) << "no layer fills a 256×256 array";

  const Network cifar = load("cifar_small.yaml");
  EXPECT_TRUE(cifar.stages[3].global_avg_pool);
  EXPECT_EQ(cifar.stages[4].in.channels, 256);
}

TEST_F(Networks, SizesOfEveryKindOfLayer) {
  const Network network = build(R"(
    - {type: conv2d, name: c1, out_channels: 6, kernel: 3, stride: 2, padding: 1, groups: 3, bias: false}
    - {type: batch_norm, name: b1, eps: 0.01, momentum: 0.2}
    - {type: relu}
    - {type: max_pool, kernel: 2, stride: 1}
    - {type: dropout, p: 0.25}
    - {type: conv2d, name: c2, out_channels: 4, kernel: 2}
    - {type: max_pool, kernel: 2}
    - {type: relu}
    - {type: flatten}
    - {type: linear, name: f1, out_features: 5}
    - {type: batch_norm, name: b2}
    - {type: relu}
    - {type: linear, name: f2, out_features: 2}
)");
  ASSERT_EQ(network.stages.size(), 4u);
  const Stage& c1 = network.stages[0];
  EXPECT_EQ(c1.gemm_out.channels, 6);
  EXPECT_EQ(c1.gemm_out.height, 4);
  EXPECT_EQ(c1.out.height, 3);
  EXPECT_EQ(c1.out.width, 3);
  EXPECT_EQ(c1.weight_count(), 6 * 1 * 9);
  EXPECT_EQ(c1.dropout, 0.25);
  EXPECT_EQ(c1.batch_norm->eps, 0.01);
  EXPECT_EQ(c1.batch_norm->momentum, 0.2);
  const array::LayerShape shape = c1.layer_shape(5);
  EXPECT_EQ(shape.m(), 5 * 4 * 4);
  EXPECT_EQ(shape.k(), 9);
  EXPECT_EQ(shape.n(), 2);
  const Stage& c2 = network.stages[1];
  EXPECT_EQ(c2.gemm_out.height, 2);
  EXPECT_EQ(c2.out.height, 1);
  EXPECT_TRUE(c2.relu);  // a ReLU behind max-pool is the same as one before it
  EXPECT_TRUE(c2.max_pool);
  EXPECT_EQ(network.stages[2].in.channels, 4);
  EXPECT_EQ(network.stages[2].batch_norm->name, "b2");
  EXPECT_EQ(network.classes, 2);
}

TEST_F(Networks, EachMisfitIsReportedAtItsLayer) {
  const std::string end = "    - {type: linear, name: end, out_features: 2}\n";
  const auto with = [&](const std::string& layers) {
    return refusal(layers + "    - {type: flatten}\n" + end);
  };
  const std::string conv = "    - {type: conv2d, name: c, out_channels: 4, kernel: 3}\n";
  EXPECT_THAT(with("    - {type: conv2d, name: c, out_channels: 4, kernel: 9}\n"),
              AllOf(HasSubstr("n.yaml:5:"), HasSubstr("kernel of 9×9 is larger than its input, 3×8×8"),
                    HasSubstr("^")));
  EXPECT_THAT(with("    - {type: conv2d, name: c, out_channels: 4, kernel: 3, groups: 2}\n"),
              HasSubstr("3 input channels do not divide into 2 groups"));
  EXPECT_THAT(with(conv + "    - {type: relu}\n    - {type: batch_norm, name: b}\n"),
              AllOf(HasSubstr("n.yaml:7:"), HasSubstr("batch_norm cannot come here")));
  EXPECT_THAT(with(conv + "    - {type: max_pool, kernel: 2}\n    - {type: batch_norm, name: b}\n"),
              HasSubstr("batch_norm cannot come here"));
  EXPECT_THAT(with(conv + "    - {type: max_pool, kernel: 7}\n"),
              HasSubstr("window of 7×7 is larger than its input, 4×6×6"));
  EXPECT_THAT(with(conv + "    - {type: relu}\n    - {type: relu}\n"), HasSubstr("relu cannot come here"));
  EXPECT_THAT(with(conv + "    - {type: global_avg_pool}\n    - {type: relu}\n"),
              HasSubstr("relu cannot come here"));
  EXPECT_THAT(with(conv + "    - {type: max_pool, kernel: 2}\n    - {type: global_avg_pool}\n"),
              HasSubstr("global_avg_pool cannot come here"));
  EXPECT_THAT(with(conv + "    - {type: dropout}\n    - {type: relu}\n"), HasSubstr("relu cannot come here"));
  EXPECT_THAT(with("    - {type: relu}\n" + conv), HasSubstr("relu before the first linear or conv2d layer"));
  EXPECT_THAT(with(conv + "    - {type: batch_norm, name: b}\n    - {type: flatten}\n"),
              HasSubstr("flat already"));
  EXPECT_THAT(
      with(conv + "    - {type: flatten}\n    - {type: conv2d, name: d, out_channels: 2, kernel: 1}\n"),
      HasSubstr("a convolution cannot follow flatten"));
  EXPECT_THAT(refusal(conv + end), HasSubstr("a linear layer on a map of 4×6×6; put a flatten before it"));
  EXPECT_THAT(refusal(conv), HasSubstr("ends in a map of 4×6×6"));
  EXPECT_THAT(refusal("    - {type: flatten}\n"), HasSubstr("no linear or conv2d layer"));
  EXPECT_THAT(refusal("    - {type: flatten}\n" + end + "    - {type: relu}\n"),
              HasSubstr("cut negative class scores"));
  EXPECT_THAT(refusal("    - {type: flatten}\n" + end + "    - {type: dropout}\n"),
              HasSubstr("drop class scores"));
  EXPECT_THAT(refusal("    - {type: flatten}\n    - {type: linear, name: f, out_features: 1}\n"),
              HasSubstr("two classes"));
}

TEST_F(Networks, InputsAreNamesOfLayersAbove) {
  const std::string start =
      "    - {type: conv2d, name: c1, out_channels: 4, kernel: 3, padding: 1}\n"
      "    - {type: relu, name: r1}\n";
  const std::string end =
      "    - {type: global_avg_pool}\n    - {type: flatten}\n    - {type: linear, name: f, out_features: "
      "4}\n";
  const std::string c2 = "    - {type: conv2d, name: c2, out_channels: 4, kernel: 1}\n";
  const auto add = [](const std::string& a, const std::string& b) {
    return "    - {type: add, name: s, inputs: [" + a + ", " + b + "]}\n";
  };
  const Network good = build(start + c2 + add("c2", "r1") + end);
  ASSERT_EQ(good.stages.size(), 4u);
  EXPECT_EQ(good.stages[2].kind, StageKind::add);
  EXPECT_EQ(good.stages[2].inputs, (std::vector{1, 0}));
  EXPECT_EQ(good.stages[3].inputs, std::vector{2});
  EXPECT_EQ(good.parameter_count(), 4 * 27 + 4 + 16 + 4 + 16 + 4);
  EXPECT_FALSE(good.is_chain());
  EXPECT_NO_THROW(
      build(start + c2 + add("r1", "r1") + "    - {type: add, name: t, inputs: [s, c2]}\n" + end));

  EXPECT_THAT(refusal(start + c2 + add("c2", "r2") + end),
              AllOf(HasSubstr("n.yaml:8:"), HasSubstr("'r2' is not the name"), HasSubstr("did you mean")));
  EXPECT_THAT(refusal(start + c2 + add("c2", "f") + end), HasSubstr("defined further down, at"));
  EXPECT_THAT(refusal(start + c2 + add("c2", "s") + end), HasSubstr("'s' is the layer itself"));
  EXPECT_THAT(refusal(start + c2 + add("c2", "c1") + end), HasSubstr("read 'r1', the last of them"));
  EXPECT_THAT(
      refusal(start + "    - {type: conv2d, name: c2, out_channels: 5, kernel: 1}\n" + add("c2", "r1") + end),
      HasSubstr("'c2' is 5×8×8 and 'r1' is 4×8×8"));
  EXPECT_THAT(
      refusal(start + c2 + "    - {type: conv2d, name: c3, input: r1, out_channels: 4, kernel: 1}\n" + end),
      AllOf(HasSubstr("n.yaml:7:"), HasSubstr("nothing reads the result of 'c2'")));
  EXPECT_THAT(refusal(start + c2 + add("c2", "r1")), HasSubstr("a network cannot end here"));
  EXPECT_THAT(refusal(add("a", "b") + start + end), HasSubstr("'a' is not the name of a layer"));
  EXPECT_THAT(refusal(start + "    - {type: add, name: s, inputs: [r1]}\n" + end),
              HasSubstr("'inputs: [a, b]'"));
  EXPECT_THAT(refusal(start + c2 + add("c2", "r1") + "    - {type: batch_norm, name: b}\n" + end),
              HasSubstr("batch_norm cannot come here"));
  EXPECT_THAT(refusal("    - {type: local_response_norm, name: n}\n" + start + end),
              HasSubstr("before the first linear or conv2d layer"));
  EXPECT_THAT(refusal(start + "    - {type: local_response_norm, name: n, unit: npu}\n" + end),
              HasSubstr("'unit' must be host or activation_unit, but is 'npu'"));
  EXPECT_THAT(refusal(start + "    - {type: flatten, unit: host}\n" + end), HasSubstr("'unit'"));
}

TEST_F(Networks, SaysWhoAddsAndNormalises) {
  const auto units = [&](const std::string& key) {
    const workloads::Network network = build(
        "    - {type: conv2d, name: c1, out_channels: 4, kernel: 1}\n"
        "    - {type: local_response_norm, name: n" +
        key +
        "}\n"
        "    - {type: conv2d, name: c2, out_channels: 4, kernel: 1}\n"
        "    - {type: add, name: s, inputs: [c2, n]" +
        key +
        "}\n"
        "    - {type: global_avg_pool}\n");
    std::vector<bool> result;
    for (const auto& stage : network.stages) result.push_back(stage.on_activation_unit());
    return result;
  };
  EXPECT_EQ(units(""), (std::vector<bool>{false, false, false, false}));
  EXPECT_EQ(units(", unit: host"), (std::vector<bool>{false, false, false, false}));
  EXPECT_EQ(units(", unit: activation_unit"), (std::vector<bool>{false, true, false, true}));
}

TEST_F(Networks, PoolsWithPaddingAndRoundedUp) {
  // Sizes as PyTorch gives them: nn.MaxPool2d(kernel, stride, padding, ceil_mode) on 8 lines.
  const auto size = [&](const std::string& pool) {
    return build("    - {type: conv2d, name: c, out_channels: 2, kernel: 1}\n    - {type: max_pool, " + pool +
                 "}\n    - {type: conv2d, name: d, out_channels: 2, kernel: 1}\n    - {type: "
                 "global_avg_pool}\n")
        .stages[0]
        .out.height;
  };
  EXPECT_EQ(size("kernel: 3, stride: 2"), 3);
  EXPECT_EQ(size("kernel: 3, stride: 2, ceil_mode: true"), 4);
  EXPECT_EQ(size("kernel: 3, stride: 2, padding: 1"), 4);
  EXPECT_EQ(size("kernel: 3, stride: 2, padding: 1, ceil_mode: true"), 5);
  EXPECT_EQ(size("kernel: 2, stride: 3, padding: 1, ceil_mode: true"), 3);
  EXPECT_EQ(size("kernel: 2, stride: 4, padding: 1, ceil_mode: true"), 3);
  EXPECT_EQ(size("kernel: 2, stride: 9, padding: 1, ceil_mode: true"),
            1);  // a window behind the map is dropped
  EXPECT_THAT(refusal("    - {type: conv2d, name: c, out_channels: 2, kernel: 1}\n"
                      "    - {type: max_pool, kernel: 3, padding: 2}\n    - {type: global_avg_pool}\n"),
              HasSubstr("at most half the window"));
}

TEST_F(Networks, AllProblemsAreListed) {
  const std::string text = refusal(R"(
    - {type: conv2d, name: c1, out_channels: 4, kernel: 11}
    - {type: relu}
    - {type: batch_norm, name: b1}
    - {type: linear, name: f1, out_features: 4}
    - {type: dropout}
    - {type: dropout}
    - {type: linear, name: f2, out_features: 4}
    - {type: max_pool, kernel: 2}
)");
  for (const char* place : {"n.yaml:6:", "n.yaml:8:", "n.yaml:9:", "n.yaml:11:", "n.yaml:13:"})
    EXPECT_THAT(text, HasSubstr(place));
}

TEST_F(Networks, DuplicateNamesAreRefusedEvenWithoutAFile) {
  configs::NetworkConfig config;
  config.input = {1, 1, 4, 1.0, {}, {}, {"built in code"}};
  const auto layer = [](configs::LayerKind kind, const std::string& name, int out) {
    configs::LayerConfig l;
    l.kind = kind;
    l.name = name;
    l.out = out;
    l.where = {"built in code"};
    return l;
  };
  config.layers = {layer(configs::LayerKind::flatten, "", 0), layer(configs::LayerKind::linear, "f", 3),
                   layer(configs::LayerKind::batch_norm, "f", 0), layer(configs::LayerKind::linear, "g", 2)};
  EXPECT_THAT(input_error([&] { build_network(config); }), HasSubstr("'f' is used twice"));
  config.layers[2].name = "b";
  EXPECT_NO_THROW(build_network(config));
  config.input.mean = {1, 2};
  config.input.std = {0};
  EXPECT_THAT(input_error([&] { build_network(config); }),
              AllOf(HasSubstr("'mean' has 2 values for 1 channels"), HasSubstr("'std' must be above 0")));
}

}  // namespace
}  // namespace kintsugi::workloads

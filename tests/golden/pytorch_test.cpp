// Float logits against those PyTorch computed (tests/golden/make_pytorch_fixtures.py), to 1e-4.
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <string>

#include "configs/network.h"
#include "workloads/dataset.h"
#include "workloads/float_forward.h"
#include "workloads/npy.h"
#include "workloads/safetensors.h"

namespace kintsugi::workloads {
namespace {

class PyTorchLogits : public testing::TestWithParam<std::string> {};

TEST_P(PyTorchLogits, Agree) {
  const std::filesystem::path folder = std::filesystem::path(KINTSUGI_SOURCE_DIR) / "tests/golden/pytorch";
  const Network network = build_network(configs::read_network(folder / (GetParam() + ".yaml")));
  const Parameters parameters = read_parameters(folder / (GetParam() + ".safetensors"));
  check_parameters(network, parameters, GetParam());
  const auto images = read_npy<std::uint8_t>(folder / (GetParam() + "_images.npy"));
  const auto logits = read_npy<float>(folder / (GetParam() + "_logits.npy"));

  ImageSet set;
  set.shape = network.input_shape();
  set.pixels = images.data;
  set.labels.resize(static_cast<std::size_t>(images.shape[0]));
  Tensor<float> input(images.shape);
  normalize(set, 0, set.size(), network.input, input.data);

  const Tensor<float> found = float_forward(network, parameters, input);
  ASSERT_EQ(found.shape, logits.shape);
  double largest = 0;
  for (std::size_t i = 0; i < found.data.size(); ++i) {
    EXPECT_NEAR(found.data[i], logits.data[i], 1e-4) << "logit " << i;
    largest = std::max(largest, static_cast<double>(std::abs(logits.data[i])));
  }
  EXPECT_GT(largest, 0.1) << "logits too small for the comparison to mean anything";
}

INSTANTIATE_TEST_SUITE_P(Fixtures, PyTorchLogits,
                         testing::Values("conv_bn_pool", "grouped", "residual", "normalised"),
                         [](const auto& test) { return test.param; });

}  // namespace
}  // namespace kintsugi::workloads

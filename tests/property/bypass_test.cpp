// The bypass of fault-aware pruning, as a law: bypassing exactly the faulty PEs equals zero weights there,
// for the sites the multiplexer can hide; a zero weight without bypass does not hide them.
#include <gtest/gtest.h>

#include "array/functional_accelerator.h"
#include "array/functional_engine.h"
#include "common/thread_pool.h"
#include "tests/support/random_cases.h"
#include "tests/support/small_networks.h"
#include "workloads/inference.h"
#include "workloads/pruning_mask.h"

namespace kintsugi {
namespace {

using test::RandomCase;

const std::vector<pe::Site> kMaskable = {pe::Site::weight_register, pe::Site::multiplier, pe::Site::adder};

std::vector<std::int32_t> run(const RandomCase& c, const faults::ArrayFaults& faults,
                              const std::vector<std::int8_t>& weights) {
  common::ThreadPool pool(1);
  array::FunctionalEngine engine(c.array, c.mapping, &pool);
  engine.load_faults(faults);
  std::vector<std::int32_t> out(static_cast<std::size_t>(c.shape.outputs()));
  engine.run({c.shape, c.activations.data(), weights.data(), out.data()});
  return out;
}

// Weights with 0 wherever a PE of `faults.faulty` holds them.
std::vector<std::int8_t> zeroed(const RandomCase& c) {
  std::vector<std::int8_t> weights = c.weights;
  const std::int64_t K = c.shape.k(), N = c.shape.n(), channels = c.shape.in_c / c.shape.groups;
  for (const faults::FaultyPe& pe : c.faults.faulty)
    for (std::int64_t g = 0; g < c.shape.groups; ++g)
      for (std::int64_t k = 0; k < K; ++k)
        for (std::int64_t n = 0; n < N; ++n) {
          const std::int64_t in_run = c.mapping == configs::ConvolutionMapping::channel ? k % channels : k;
          if (in_run % c.array.rows == pe.row && n % c.array.cols == pe.col) weights[(g * K + k) * N + n] = 0;
        }
  return weights;
}

RandomCase case_with(std::uint64_t number, const std::vector<pe::Site>& sites, test::BypassKind bypass) {
  RandomCase c = test::random_case(number, 16);
  common::RandomStream random(number, "bypass-property");
  c.faults =
      test::random_faults(random, c.array.rows, c.array.cols, 0.15, sites, bypass, c.array.accumulator_bits);
  return c;
}

TEST(Bypass, of_exactly_the_faulty_pes_equals_zero_weights) {
  for (std::uint64_t number = 0; number < 300; ++number) {
    const RandomCase c = case_with(number, kMaskable, test::BypassKind::all);
    const auto clean = faults::fault_free(c.array.rows, c.array.cols);
    ASSERT_EQ(run(c, c.faults, c.weights), run(c, clean, zeroed(c))) << c.text;
  }
}

TEST(Bypass, a_zero_weight_without_it_still_corrupts) {
  for (const pe::Site site : {pe::Site::multiplier, pe::Site::adder, pe::Site::weight_register}) {
    int corrupted = 0, with_faults = 0;
    for (std::uint64_t number = 0; number < 100; ++number) {
      const RandomCase c = case_with(number, {site}, test::BypassKind::none);
      if (c.faults.faulty.empty()) continue;
      ++with_faults;
      const auto clean = faults::fault_free(c.array.rows, c.array.cols);
      corrupted += run(c, c.faults, zeroed(c)) != run(c, clean, zeroed(c));
    }
    EXPECT_GT(corrupted, with_faults / 2) << faults::to_string(site);
  }
}

// One stuck bit, worked out: product 0 becomes 8 at every stream position.
TEST(Bypass, a_stuck_product_bit_over_a_zero_weight_adds_its_value) {
  RandomCase c;
  c.array.rows = c.array.cols = 2;
  c.shape = array::gemm_shape(3, 2, 2);
  c.activations = {1, 2, 3, 4, 5, 6};
  c.weights = {0, 7, 1, 1};
  c.faults = faults::fault_free(2, 2);
  faults::FaultyPe faulty;
  faulty.hooks[pe::Site::multiplier].stick(3, 1);
  c.faults.faulty.push_back(faulty);
  EXPECT_EQ(run(c, c.faults, c.weights), (std::vector<std::int32_t>{2 + 8, 9, 4 + 8, 25, 6 + 8, 41}));
  c.faults.bypass[0] = 1;
  EXPECT_EQ(run(c, c.faults, c.weights), (std::vector<std::int32_t>{2, 9, 4, 25, 6, 41}));
}

TEST(Bypass, cannot_hide_the_two_registers_that_neighbours_read) {
  for (const pe::Site site : {pe::Site::psum_register, pe::Site::activation_register}) {
    int corrupted = 0;
    for (std::uint64_t number = 0; number < 100; ++number) {
      const RandomCase c = case_with(number, {site}, test::BypassKind::all);
      const auto clean = faults::fault_free(c.array.rows, c.array.cols);
      corrupted += run(c, c.faults, c.weights) != run(c, clean, zeroed(c));
    }
    EXPECT_GT(corrupted, 30) << faults::to_string(site);
  }
}

// The same law for a whole network: a chip with bypass runs the pruned network's very bits.
TEST(Bypass, a_network_on_a_bypassed_chip_is_the_pruned_network) {
  namespace nets = kintsugi::testing;
  const auto network = nets::network_of(
      3, 9, 9,
      {nets::conv("c1", 12, 3, 1, 1), nets::batch_norm("b1"), nets::relu(), nets::max_pool(2, 2),
       nets::conv("c2", 8, 3, 1, 0, 2), nets::relu(), nets::flatten(), nets::linear("f", 5)});
  const auto parameters = nets::random_parameters(network, 3);
  const auto images = nets::random_images(40, network.input_shape(), 5, 3);
  const auto scales = workloads::calibrate(network, parameters, images, {});
  for (const auto mapping : {configs::ConvolutionMapping::im2col, configs::ConvolutionMapping::channel}) {
    configs::ChipConfig chip;
    chip.array.rows = 8;
    chip.array.cols = 6;
    chip.convolution = mapping;
    common::RandomStream random(4, "network-bypass");
    const auto faults =
        test::random_faults(random, 8, 6, 0.2, kMaskable, test::BypassKind::all, chip.array.accumulator_bits);
    ASSERT_FALSE(faults.faulty.empty());
    const auto clean = faults::fault_free(8, 6);
    common::ThreadPool pool(1);
    array::FunctionalAccelerator device(chip, &pool, 1 << 24);
    const auto logits = [&](const workloads::DeployedNetwork& deployed, const faults::ArrayFaults& loaded) {
      device.load_faults(loaded);
      return workloads::infer(device, network, deployed, images, 16, loaded).logits.data;
    };
    const auto pruned =
        workloads::deploy(network, parameters, scales, workloads::pruning_masks(network, faults, chip));
    EXPECT_EQ(logits(pruned, faults), logits(pruned, clean));
    // And not because faults do nothing here.
    faults::ArrayFaults exposed = faults;
    exposed.bypass.assign(exposed.bypass.size(), 0);
    EXPECT_NE(logits(pruned, exposed), logits(pruned, clean));
  }
}

}  // namespace
}  // namespace kintsugi

// The functional engine against the naive array: same bits, for every site, bypass, mapping and width.
#include "array/functional_engine.h"

#include <gtest/gtest.h>

#include <cstdlib>

#include "array/functional_accelerator.h"
#include "array/requantize.h"
#include "common/thread_pool.h"
#include "tests/support/naive_array.h"
#include "tests/support/random_cases.h"

namespace kintsugi {
namespace {

using test::NaiveArithmetic;
using test::RandomCase;

std::vector<std::int32_t> run_engine(const RandomCase& c, common::ThreadPool* pool) {
  array::FunctionalEngine engine(c.array, c.mapping, pool);
  engine.load_faults(c.faults);
  std::vector<std::int32_t> out(static_cast<std::size_t>(c.shape.outputs()), 0x5a5a5a5a);
  engine.run({c.shape, c.activations.data(), c.weights.data(), out.data()});
  return out;
}

std::vector<std::int32_t> run_naive(const RandomCase& c, NaiveArithmetic arithmetic) {
  return test::naive_array(c.array, c.mapping, c.faults, c.shape, c.activations.data(), c.weights.data(),
                           arithmetic);
}

TEST(FunctionalEngine, equals_the_naive_array_in_random_cases) {
  common::ThreadPool pool(2);
  for (std::uint64_t number = 0; number < 600; ++number) {
    const RandomCase c = test::random_case(number, 17);
    ASSERT_EQ(run_engine(c, &pool), run_naive(c, NaiveArithmetic::datapath)) << c.text;
  }
}

TEST(FunctionalEngine, gives_the_same_bits_with_all_instructions) {
  common::ThreadPool pool(2);
  for (const char* isa : {"portable", "avx2"}) {
    setenv("KINTSUGI_ISA", isa, 1);
    for (std::uint64_t number = 2000; number < 2300; ++number) {
      const RandomCase c = test::random_case(number, 17);
      EXPECT_EQ(run_engine(c, &pool), run_naive(c, NaiveArithmetic::datapath)) << isa << ", " << c.text;
    }
    unsetenv("KINTSUGI_ISA");
  }
}

TEST(FunctionalEngine, equals_arithmetic_written_from_the_design_alone) {
  common::ThreadPool pool(1);
  for (std::uint64_t number = 1000; number < 1060; ++number) {
    const RandomCase c = test::random_case(number, 8);
    ASSERT_EQ(run_engine(c, &pool), run_naive(c, NaiveArithmetic::bit_strings)) << c.text;
  }
}

// Sizes at which several blocks of stream positions, wide columns and long corrections occur.
TEST(FunctionalEngine, equals_the_naive_array_at_larger_sizes) {
  common::ThreadPool pool(2);
  const std::vector<std::vector<pe::Site>> sites = {{pe::Site::activation_register},
                                                    {pe::Site::weight_register},
                                                    {pe::Site::multiplier},
                                                    test::all_sites(),
                                                    {pe::Site::adder, pe::Site::activation_register},
                                                    {pe::Site::psum_register},
                                                    {pe::Site::multiplier, pe::Site::activation_register}};
  for (std::uint64_t i = 0; i < sites.size(); ++i) {
    common::RandomStream random(i, "larger");
    RandomCase c;
    c.array.rows = 64;
    c.array.cols = 48;
    c.shape = array::gemm_shape(150 + static_cast<std::int64_t>(i), 131, 101);
    c.faults =
        test::random_faults(random, 64, 48, i >= 3 ? 0.1 : 0.004, sites[i], test::BypassKind::none, 32);
    ASSERT_FALSE(c.faults.faulty.empty());
    c.activations = test::random_int8(random, c.shape.activation_bytes());
    c.weights = test::random_int8(random, c.shape.weight_bytes());
    ASSERT_EQ(run_engine(c, &pool), run_naive(c, NaiveArithmetic::datapath)) << "site list " << i;
  }
}

// Arrays high enough for several segments of rows and wide enough for several panels and blocks, at the
// densities at which each way of running chains is chosen.
TEST(FunctionalEngine, equals_the_naive_array_at_every_density) {
  common::ThreadPool pool(2);
  std::uint64_t number = 0;
  for (const int rows : {130, 257})
    for (const double rate : {0.01, 0.1, 0.3})
      for (const int bits : {32, 20})
        for (const auto bypass : {test::BypassKind::none, test::BypassKind::partial}) {
          common::RandomStream random(++number, "density");
          RandomCase c;
          c.array.rows = rows;
          c.array.cols = 70;
          c.array.accumulator_bits = bits;
          const std::int64_t k = number % 2 == 0 ? 2 * rows + 3 : rows - 5;
          c.shape = array::gemm_shape(270, k, number % 3 == 0 ? 90 : 67);
          c.faults = test::random_faults(random, rows, 70, rate, test::all_sites(), bypass, bits);
          c.activations = test::random_int8(random, c.shape.activation_bytes());
          c.weights = test::random_int8(random, c.shape.weight_bytes());
          ASSERT_EQ(run_engine(c, &pool), run_naive(c, NaiveArithmetic::datapath))
              << rows << " rows, rate " << rate << ", " << bits << " bits, case " << number;
        }
}

// One engine, many layers and fault patterns: nothing may be left over from the one before.
TEST(FunctionalEngine, one_engine_serves_many_jobs) {
  common::ThreadPool pool(2);
  configs::ArrayConfig config;
  config.rows = 7;
  config.cols = 5;
  array::FunctionalEngine engine(config, configs::ConvolutionMapping::im2col, &pool);
  for (std::uint64_t i = 0; i < 60; ++i) {
    common::RandomStream random(i, "many-jobs");
    RandomCase c = test::random_case(i, 8);
    c.array = config;
    c.mapping = configs::ConvolutionMapping::im2col;
    c.faults = test::random_faults(random, 7, 5, i % 3 == 0 ? 0.0 : 0.1, test::all_sites(),
                                   test::BypassKind::partial, 32);
    engine.load_faults(c.faults);
    std::vector<std::int32_t> out(static_cast<std::size_t>(c.shape.outputs()));
    engine.run({c.shape, c.activations.data(), c.weights.data(), out.data()});
    ASSERT_EQ(out, run_naive(c, NaiveArithmetic::datapath)) << c.text;
  }
}

// Weights are kept packed; a change of a single one, in place, must be noticed. So must another batch be.
TEST(FunctionalEngine, notices_changed_weights_and_batches) {
  common::ThreadPool pool(2);
  for (std::uint64_t i = 0; i < 40; ++i) {
    common::RandomStream random(i, "changed-weights");
    RandomCase c = test::random_case(3000 + i, 16);
    array::FunctionalEngine engine(c.array, c.mapping, &pool);
    engine.load_faults(c.faults);
    for (int change = 0; change < 4; ++change) {
      std::vector<std::int32_t> out(static_cast<std::size_t>(c.shape.outputs()));
      engine.run({c.shape, c.activations.data(), c.weights.data(), out.data()});
      ASSERT_EQ(out, run_naive(c, NaiveArithmetic::datapath)) << c.text << ", change " << change;
      std::int8_t& weight = c.weights[random.below(c.weights.size())];
      weight = static_cast<std::int8_t>(weight ^ 0x40);
      c.shape.batch = 1 + static_cast<std::int64_t>(random.below(9));
      c.activations = test::random_int8(random, c.shape.activation_bytes());
    }
  }
}

TEST(FunctionalEngine, refuses_faults_of_another_size) {
  configs::ArrayConfig config;
  config.rows = config.cols = 4;
  array::FunctionalEngine engine(config, configs::ConvolutionMapping::im2col);
  common::RandomStream random(1, "size");
  EXPECT_THROW(engine.load_faults(
                   test::random_faults(random, 4, 5, 0.1, test::all_sites(), test::BypassKind::none, 32)),
               std::invalid_argument);
}

class FunctionalAcceleratorTest : public testing::Test {
 protected:
  static configs::ChipConfig chip() {
    configs::ChipConfig result;
    result.array.rows = 4;
    result.array.cols = 3;
    return result;
  }
  common::ThreadPool pool_{1};
  array::FunctionalAccelerator device_{chip(), &pool_, 1 << 16};
};

TEST_F(FunctionalAcceleratorTest, gives_accumulators_or_requantised_results) {
  const std::vector<std::int8_t> a = {1, 2, 3, -4, 5, -6};   // 2×3
  const std::vector<std::int8_t> w = {1, -1, 2, 0, 3, 100};  // 3×2
  device_.data_to_device(0, array::as_device_bytes(std::span(a)));
  device_.data_to_device(100, array::as_device_bytes(std::span(w)));
  array::LayerLaunch launch;
  launch.shape = array::gemm_shape(2, 3, 2);
  launch.weights = 100;
  launch.output = 200;
  // One tile: R + M + R + C − 2 = 4 + 2 + 4 + 3 − 2.
  EXPECT_EQ(device_.launch(launch).cycles, 11);
  std::vector<std::int32_t> acc(4);
  device_.data_from_device(200, std::as_writable_bytes(std::span(acc)));
  EXPECT_EQ(acc, (std::vector<std::int32_t>{14, 299, -12, -596}));

  // q = (acc · 1 + offset) >> 1, rounding half up.
  const std::vector<array::Requantization> table = {{1, 1, 1}, {-1, 2, 2 + 4 * 10}};
  device_.data_to_device(304, array::as_device_bytes(std::span(table)));
  launch.requantization = 304;
  device_.launch(launch);
  std::vector<std::int8_t> q(4);
  device_.data_from_device(200, std::as_writable_bytes(std::span(q)));
  EXPECT_EQ(q, (std::vector<std::int8_t>{7, -65, -6, 127}));
  launch.relu = true;
  device_.launch(launch);
  device_.data_from_device(200, std::as_writable_bytes(std::span(q)));
  EXPECT_EQ(q, (std::vector<std::int8_t>{7, 0, 0, 127}));
}

TEST_F(FunctionalAcceleratorTest, checks_ranges_and_alignment) {
  array::LayerLaunch launch;
  launch.shape = array::gemm_shape(2, 3, 2);
  launch.output = (1 << 16) - 16;
  EXPECT_NO_THROW(device_.launch(launch));
  launch.output = (1 << 16) - 12;
  EXPECT_THROW(device_.launch(launch), std::out_of_range);
  launch.output = 202;
  EXPECT_THROW(device_.launch(launch), std::invalid_argument);
  launch.output = 200;
  launch.requantization = 300;
  EXPECT_THROW(device_.launch(launch), std::invalid_argument);
  launch.requantization = ~std::uint64_t{7};
  EXPECT_THROW(device_.launch(launch), std::out_of_range);
  std::byte bytes[2];
  EXPECT_THROW(device_.data_to_device((1 << 16) - 1, bytes), std::out_of_range);
  EXPECT_THROW(device_.data_from_device(~std::uint64_t{0}, bytes), std::out_of_range);
  launch.requantization.reset();
  launch.shape.groups = 2;
  EXPECT_THROW(device_.launch(launch), std::invalid_argument);
}

TEST_F(FunctionalAcceleratorTest, refuses_an_output_over_what_the_layer_reads) {
  array::LayerLaunch launch;
  launch.shape = array::gemm_shape(2, 3, 2);  // reads 6 and 6 bytes, writes 16, or 4 when requantised
  launch.activations = 1000;
  launch.weights = 2000;
  for (const std::uint64_t operand : {launch.activations, launch.weights}) {
    for (const std::uint64_t output : {operand - 8, operand, operand + 4}) {
      launch.output = output;
      EXPECT_THROW(device_.launch(launch), std::invalid_argument) << output;
    }
    for (const std::uint64_t output : {operand - 16, operand + 8}) {
      launch.output = output;
      EXPECT_NO_THROW(device_.launch(launch)) << output;
    }
  }
  const std::vector<array::Requantization> table = {{1, 1, 1}, {1, 1, 1}};
  device_.data_to_device(3000, array::as_device_bytes(std::span(table)));
  launch.requantization = 3000;
  for (const std::uint64_t output : {2997, 3000, 3031}) {
    launch.output = output;
    EXPECT_THROW(device_.launch(launch), std::invalid_argument) << output;
  }
  for (const std::uint64_t output : {2996, 3032, 996, 1006}) {
    launch.output = output;
    EXPECT_NO_THROW(device_.launch(launch)) << output;
  }
}

TEST_F(FunctionalAcceleratorTest, refuses_a_shift_outside_its_range) {
  array::LayerLaunch launch;
  launch.shape = array::gemm_shape(2, 3, 2);
  launch.output = 200;
  launch.requantization = 304;
  for (const std::int32_t shift : {0, 63, -1}) {
    const std::vector<array::Requantization> table = {{1, 1, 1}, {1, shift, 1}};
    device_.data_to_device(304, array::as_device_bytes(std::span(table)));
    EXPECT_THROW(device_.launch(launch), std::invalid_argument) << shift;
  }
}

TEST(FunctionalAccelerator, refuses_bypass_bits_on_a_chip_without_bypass) {
  configs::ChipConfig chip;
  chip.array.rows = 4;
  chip.array.cols = 3;
  chip.array.bypass = configs::Bypass::none;
  common::ThreadPool pool(1);
  array::FunctionalAccelerator device(chip, &pool, 1 << 16);
  faults::ArrayFaults faults = faults::fault_free(4, 3);
  EXPECT_NO_THROW(device.load_faults(faults));
  faults.bypass[5] = 1;
  EXPECT_THROW(device.load_faults(faults), std::invalid_argument);
}

TEST_F(FunctionalAcceleratorTest, converts_and_reorders) {
  const std::vector<float> x = {0.5f, 1.5f, 2.5f, -0.5f, -1.5f, 126.4f, 127.6f, 1e9f, -1e9f, 0.f};
  std::vector<std::int8_t> q(x.size());
  device_.float_to_int(x, 1.f, q);
  EXPECT_EQ(q, (std::vector<std::int8_t>{0, 2, 2, 0, -2, 126, 127, 127, -127, 0}));
  EXPECT_THROW(device_.float_to_int(x, 0.f, q), std::invalid_argument);

  const std::vector<std::int32_t> acc = {1, 2, 3, 4};
  const std::vector<float> scales = {0.5f, 10.f};
  std::vector<float> out(4);
  device_.int_to_float(acc, scales, out);
  EXPECT_EQ(out, (std::vector<float>{0.5f, 20.f, 1.5f, 40.f}));

  constexpr std::int64_t kBatch = 2, kChannels = 35, kPixels = 37;
  std::vector<std::int8_t> nchw(kBatch * kChannels * kPixels), nhwc(nchw.size()), back(nchw.size());
  for (std::size_t i = 0; i < nchw.size(); ++i) nchw[i] = static_cast<std::int8_t>(i * 7);
  device_.layout_reorder(nchw, kBatch, kChannels, kPixels, nhwc);
  for (std::int64_t b = 0; b < kBatch; ++b)
    for (std::int64_t c = 0; c < kChannels; ++c)
      for (std::int64_t p = 0; p < kPixels; ++p)
        ASSERT_EQ(nhwc[(b * kPixels + p) * kChannels + c], nchw[(b * kChannels + c) * kPixels + p]);
  device_.layout_recover(nhwc, kBatch, kChannels, kPixels, back);
  EXPECT_EQ(back, nchw);
}

}  // namespace
}  // namespace kintsugi

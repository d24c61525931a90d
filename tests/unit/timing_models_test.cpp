// Random bit errors and the table model: their statistics against arithmetic, what a file may hold, and what
// an accelerator refuses to load.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <bit>
#include <cmath>
#include <fstream>
#include <memory>
#include <string>

#include "array/functional_accelerator.h"
#include "common/diagnostics.h"
#include "faults/random_errors.h"
#include "faults/table_model.h"
#include "tests/support/hash_timing.h"
#include "tests/support/input_error.h"
#include "tests/support/temporary_folder.h"

namespace kintsugi {
namespace {

using faults::OperandClass;
using ::testing::HasSubstr;

TEST(RandomErrors, flip_every_bit_at_the_asked_rate) {
  for (const double rate : {1e-4, 0.02, 0.7}) {
    constexpr std::int64_t kValues = 200'000;
    constexpr int kBits = 17;
    std::array<std::int64_t, kBits> by_bit{};
    std::int64_t last = -1;
    for (const auto& flip : faults::flipped_values(rate, kValues, kBits, common::RandomStream(5, "test"))) {
      ASSERT_GT(flip.index, last);
      ASSERT_LT(flip.index, kValues);
      last = flip.index;
      for (int bit = 0; bit < 32; ++bit)
        if ((flip.mask >> bit & 1) != 0) {
          ASSERT_LT(bit, kBits);
          ++by_bit[static_cast<std::size_t>(bit)];
        }
    }
    for (const std::int64_t count : by_bit)
      EXPECT_NEAR(static_cast<double>(count), rate * kValues, 5 * std::sqrt(rate * (1 - rate) * kValues))
          << rate;
  }
}

TEST(RandomErrors, rate_0_flips_nothing_and_rate_1_everything) {
  EXPECT_TRUE(faults::flipped_values(0, 1000, 8, common::RandomStream(1, "test")).empty());
  const auto all = faults::flipped_values(1, 3, 8, common::RandomStream(1, "test"));
  ASSERT_EQ(all.size(), 3u);
  for (const auto& flip : all) EXPECT_EQ(flip.mask, 0xffu);
}

// Two neighbours both flip with rate²: gaps are geometric, not regular.
TEST(RandomErrors, neighbours_are_independent) {
  constexpr double kRate = 0.1;
  constexpr std::int64_t kValues = 400'000;
  std::int64_t pairs = 0, last = -2;
  for (const auto& flip : faults::flipped_values(kRate, kValues, 1, common::RandomStream(9, "test"))) {
    pairs += flip.index == last + 1 ? 1 : 0;
    last = flip.index;
  }
  EXPECT_NEAR(static_cast<double>(pairs), kRate * kRate * kValues, 5 * std::sqrt(kRate * kRate * kValues));
}

TEST(TableModel, classes_of_operands) {
  EXPECT_EQ(faults::operand_class(3, 4, 6, 2), OperandClass::product_unchanged);
  EXPECT_EQ(faults::operand_class(3, 4, 3, -4), OperandClass::sign_change);
  EXPECT_EQ(faults::operand_class(0, -4, 1, -4), OperandClass::sign_change);
  EXPECT_EQ(faults::operand_class(1, -4, 2, -4), OperandClass::weight_negative);
  EXPECT_EQ(faults::operand_class(1, 4, 2, 4), OperandClass::weight_positive);
  EXPECT_EQ(faults::operand_class(1, 4, 2, 0), OperandClass::weight_positive);
}

class TableFile : public ::testing::Test {
 protected:
  faults::ErrorTable read(const std::string& lines) {
    const auto file = folder_.path() / "table.csv";
    std::ofstream(file) << "period_relative,operand_class,bit,probability\n" << lines;
    return faults::read_error_table(file);
  }
  test::TemporaryFolder folder_;
};

TEST_F(TableFile, interpolates_in_the_logarithm_and_to_0_linearly) {
  const faults::ErrorTable table = read(
      "0.8,weight_negative,31,0.04\n0.9,weight_negative,31,0.01\n0.8,sign_change,30,0.2\n0.9,all,3,0.5\n");
  const auto at = [&](double period, OperandClass which, std::size_t bit) {
    return table.at(period)[static_cast<std::size_t>(which)][bit];
  };
  EXPECT_DOUBLE_EQ(at(0.8, OperandClass::weight_negative, 31), 0.04);
  EXPECT_NEAR(at(0.85, OperandClass::weight_negative, 31), 0.02, 1e-12);  // the geometric mean
  EXPECT_NEAR(at(0.95, OperandClass::weight_negative, 31), 0.005, 1e-12);
  EXPECT_NEAR(at(0.85, OperandClass::sign_change, 30), 0.1, 1e-12);
  EXPECT_EQ(at(0.9, OperandClass::sign_change, 30), 0);
  EXPECT_EQ(at(1.0, OperandClass::weight_negative, 31), 0);
  for (const auto which :
       {OperandClass::product_unchanged, OperandClass::sign_change, OperandClass::weight_positive})
    EXPECT_DOUBLE_EQ(at(0.9, which, 3), 0.5);
  EXPECT_THROW(table.at(0.79), common::InputError);
}

TEST_F(TableFile, errors_have_the_tables_rates_and_can_be_played_again) {
  const faults::ErrorTable table =
      read("0.7,weight_negative,20,0.3\n0.7,weight_negative,5,0.02\n0.7,sign_change,1,1\n");
  const faults::TableModel model(table, {0.7, 0.85, 1.0}, 24);
  EXPECT_FALSE(model.settled_can_err());
  constexpr std::size_t kCount = 100'000;
  const std::vector<std::int8_t> a_before(kCount, 1), a(kCount, 2), w(kCount, -3);
  const std::vector<std::int32_t> p(kCount, 0);
  std::vector<std::uint64_t> keys;
  for (std::size_t i = 0; i < kCount; ++i)
    keys.push_back(faults::cycle_key(0, static_cast<std::int64_t>(i) / 4, static_cast<int>(i) % 4, 1));
  const auto draw = [&](int bin, std::uint64_t job) {
    std::vector<std::uint32_t> errors(kCount);
    model.evaluate(bin, job,
                   {kCount, a_before.data(), a.data(), w.data(), w.data(), p.data(), p.data(), keys.data()},
                   errors.data());
    return errors;
  };
  const auto rate = [&](const std::vector<std::uint32_t>& errors, int bit) {
    double count = 0;
    for (const std::uint32_t e : errors) count += e >> bit & 1;
    return count / kCount;
  };
  const auto errors = draw(0, 7);
  EXPECT_NEAR(rate(errors, 20), 0.3, 0.01);
  EXPECT_NEAR(rate(errors, 5), 0.02, 0.003);
  EXPECT_EQ(rate(errors, 1), 0);
  EXPECT_NEAR(rate(draw(1, 7), 20), 0.15, 0.01);  // half-way to no errors at 1
  EXPECT_EQ(rate(draw(2, 7), 20), 0);
  double both = 0;
  for (const std::uint32_t e : errors) both += (e >> 20 & e >> 5 & 1);
  EXPECT_NEAR(both / kCount, 0.006, 0.002);  // bits err by themselves
  EXPECT_EQ(draw(0, 7), errors);
  EXPECT_NE(draw(0, 8), errors);
  // One by one, backwards.
  for (std::size_t i = kCount; i-- > kCount - 1000;) {
    std::uint32_t error = 0;
    model.evaluate(0, 7, {1, &a_before[i], &a[i], &w[i], &w[i], &p[i], &p[i], &keys[i]}, &error);
    ASSERT_EQ(error, errors[i]);
  }
}

TEST_F(TableFile, knows_whether_equal_inputs_can_err) {
  EXPECT_TRUE(faults::TableModel(read("0.7,all,20,0.3\n"), {0.8}, 32).settled_can_err());
  EXPECT_FALSE(
      faults::TableModel(read("0.7,all,20,0.3\n0.7,product_unchanged,20,0\n"), {0.8}, 32).settled_can_err());
}

TEST_F(TableFile, all_problems_of_a_file_are_told_with_their_places) {
  try {
    read(
        "1,all,3,0.5\n0.9,sign,3,0.5\n0.9,all,32,0.5\n0.9,all,3,1.5\n0.9,all\n0.8,all,3,0.1\n0.8,all,3,0."
        "2\n");
    FAIL();
  } catch (const common::InputError& error) {
    const std::string text = error.what();
    for (const char* place : {"table.csv:2:1:", "table.csv:3:5:", "table.csv:4:9:", "table.csv:5:11:",
                              "table.csv:6:1:", "table.csv:8:1:"})
      EXPECT_THAT(text, HasSubstr(place));
    EXPECT_THAT(text, HasSubstr("line 7 has this period"));
  }
  const auto file = folder_.path() / "other.csv";
  std::ofstream(file) << "a,b\n1,2\n";
  EXPECT_THROW(faults::read_error_table(file), common::InputError);
  EXPECT_THROW(faults::TableModel(read("0.9,all,24,0.1\n"), {0.95}, 24), common::InputError);
}

// ---- Loading ----

std::shared_ptr<faults::ChipTiming> timing_of(int rows, int cols) {
  auto timing = std::make_shared<faults::ChipTiming>();
  timing->rows = rows;
  timing->cols = cols;
  timing->at_risk = {{0, 1, 0}, {2, 0, 0}};
  timing->model = std::make_shared<test::HashTiming>(test::HashTiming::Options{});
  return timing;
}

TEST(LoadTiming, refuses_what_is_not_of_this_array) {
  configs::ChipConfig chip;
  chip.array.rows = 3;
  chip.array.cols = 2;
  array::FunctionalAccelerator device(chip, nullptr, 1 << 16);
  const auto refused = [&](const auto& change) {
    auto timing = timing_of(3, 2);
    change(*timing);
    EXPECT_THROW(device.load_timing(timing), std::invalid_argument);
  };
  EXPECT_NO_THROW(device.load_timing(timing_of(3, 2)));
  EXPECT_EQ(device.late_words_by_pe().size(), 2u);
  refused([](faults::ChipTiming& t) { t.rows = 4; });
  refused([](faults::ChipTiming& t) { t.cols = 3; });
  refused([](faults::ChipTiming& t) { t.at_risk[1].row = 3; });
  refused([](faults::ChipTiming& t) { t.at_risk[1] = {0, 1, 1}; });
  refused([](faults::ChipTiming& t) { std::swap(t.at_risk[0], t.at_risk[1]); });
  refused([](faults::ChipTiming& t) { t.model = nullptr; });
  refused([](faults::ChipTiming& t) { t.random.psum_rate = 1.5; });
  refused([](faults::ChipTiming& t) { t.random.weight_rate = std::nan(""); });
  refused([](faults::ChipTiming& t) {
    test::HashTiming::Options narrow;
    narrow.accumulator_bits = 24;
    t.model = std::make_shared<test::HashTiming>(narrow);
  });
}

TEST(LoadTiming, random_errors_follow_the_contents_of_a_layer_and_the_seed) {
  configs::ChipConfig chip;
  chip.array.rows = 3;
  chip.array.cols = 2;
  array::FunctionalAccelerator device(chip, nullptr, 1 << 16);
  array::LayerLaunch launch;
  launch.shape = array::gemm_shape(40, 7, 5);
  launch.weights = 4096;
  launch.output = 8192;
  std::vector<std::int8_t> a(280, 3), w(35, -2);
  const auto run = [&](double activations, double weights, double psums, double outputs, std::uint64_t seed) {
    auto timing = std::make_shared<faults::ChipTiming>();
    timing->rows = 3;
    timing->cols = 2;
    timing->random = {activations, weights, psums, outputs};
    timing->seed = seed;
    device.load_timing(timing);
    device.data_to_device(0, std::as_bytes(std::span(a)));
    device.data_to_device(4096, std::as_bytes(std::span(w)));
    const array::LaunchReport report = device.launch(launch);
    std::vector<std::int32_t> out(200);
    device.data_from_device(8192, std::as_writable_bytes(std::span(out)));
    return std::pair(out, report.timing);
  };
  const std::vector<std::int32_t> right(200, -42);
  EXPECT_EQ(run(0, 0, 0, 0, 1).first, right);
  // Outputs: each flipped bit is one bit of one result.
  const auto [outputs, counts] = run(0, 0, 0, 0.01, 1);
  std::int64_t bits = 0;
  for (const std::int32_t value : outputs)
    bits += std::popcount(static_cast<std::uint32_t>(value) ^ static_cast<std::uint32_t>(-42));
  EXPECT_EQ(bits, counts.flipped_bits);
  EXPECT_GT(bits, 30);
  EXPECT_EQ(counts.late_words, 0);
  for (const auto& rates : {std::array{0.01, 0., 0., 0.}, {0., 0.01, 0., 0.}, {0., 0., 0.001, 0.}}) {
    const auto errs = [&](std::uint64_t seed) { return run(rates[0], rates[1], rates[2], rates[3], seed); };
    EXPECT_NE(errs(1).first, right);
    EXPECT_GT(errs(1).second.flipped_bits, 0);
    EXPECT_EQ(errs(1).first, errs(1).first);
    EXPECT_NE(errs(1).first, errs(2).first);
  }
  // In memory the operands are what they were.
  std::vector<std::int8_t> kept(280);
  device.data_from_device(0, std::as_writable_bytes(std::span(kept)));
  EXPECT_EQ(kept, a);
}

}  // namespace
}  // namespace kintsugi

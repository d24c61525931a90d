// What is known of timing errors (docs/timing-errors.md), measured at the array's outputs: chip file,
// variation, netlist and engine together.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "array/functional_accelerator.h"
#include "common/files.h"
#include "common/random.h"
#include "faults/chip_speed.h"
#include "faults/delay_map.h"
#include "tests/support/temporary_folder.h"

namespace kintsugi {
namespace {

constexpr int kRows = 96, kCols = 32, kPositions = 1000;

// Traffic as of a network: activations after ReLU, weights around zero. Enough rows that what arrives from
// above is mostly larger than a product: where a sum crosses zero, any product starts a long carry.
struct Traffic {
  std::vector<std::int8_t> activations, weights;
  Traffic() {
    common::RandomStream random(3, "traffic of a network");
    const auto normal = [&](double sigma) {
      return static_cast<std::int8_t>(std::clamp(std::nearbyint(sigma * random.normal()), -127.0, 127.0));
    };
    for (int i = 0; i < kPositions * kRows; ++i) {
      const std::int8_t value = normal(40);
      activations.push_back(value > 0 ? value : std::int8_t{0});
    }
    for (int i = 0; i < kRows * kCols; ++i) weights.push_back(normal(20));
  }
  int activation(int m, int r) const { return activations[static_cast<std::size_t>(m) * kRows + r]; }
  int weight(int r, int c) const { return weights[static_cast<std::size_t>(r) * kCols + c]; }
  std::int32_t right(int m, int c) const {
    std::int32_t sum = 0;
    for (int r = 0; r < kRows; ++r) sum += activation(m, r) * weight(r, c);
    return sum;
  }
};

class TimingErrors : public testing::TestWithParam<const char*> {
 protected:
  struct Run {
    std::vector<std::int32_t> outputs;
    std::int64_t late_words = 0;
  };

  // At `period` times the Tmin of a PE with factor 1.
  Run run(double period, const std::vector<double>& factors) {
    common::write_file_atomic(folder_ / "map.csv", faults::delay_map_csv(factors, kRows, kCols));
    common::write_file_atomic(
        folder_ / "chip.yaml",
        fmt::format(
            "chip:\n  array: {{rows: {}, cols: {}}}\n  clock_mhz: 100\n  timing:\n    model: netlist\n"
            "    netlist: '{}/configs/pes/{}.pe'\n    guard_band: 0\n    fit: typical_pe\n"
            "    variation: {{delay_map: map.csv}}\n",
            kRows, kCols, KINTSUGI_SOURCE_DIR, GetParam()));
    const auto chip = configs::at_frequency(configs::read_chip(folder_ / "chip.yaml"), 100 / period);
    const faults::ChipSpeed speed(chip);
    array::FunctionalAccelerator device(chip, nullptr, 1 << 22);
    device.load_faults(faults::fault_free(kRows, kCols));
    device.load_timing(speed.at(speed.configured()));
    array::LayerLaunch launch;
    launch.shape = array::gemm_shape(kPositions, kRows, kCols);
    launch.weights = 1 << 20;
    launch.output = 1 << 21;
    device.data_to_device(0, array::as_device_bytes(std::span(traffic_.activations)));
    device.data_to_device(launch.weights, array::as_device_bytes(std::span(traffic_.weights)));
    Run result;
    result.late_words = device.launch(launch).timing.late_words;
    result.outputs.resize(static_cast<std::size_t>(kPositions) * kCols);
    device.data_from_device(launch.output, std::as_writable_bytes(std::span(result.outputs)));
    return result;
  }

  Traffic traffic_;
  test::TemporaryFolder folder_;
};

TEST_P(TimingErrors, GrowWithTheClockAndBeginAboveTmin) {
  const std::vector<double> equal(kRows * kCols, 1);
  const Run nominal = run(1, equal);
  EXPECT_EQ(nominal.late_words, 0);
  for (int m = 0; m < kPositions; ++m)
    for (int c = 0; c < kCols; ++c)
      ASSERT_EQ(nominal.outputs[static_cast<std::size_t>(m) * kCols + c], traffic_.right(m, c));
  std::int64_t last = 0;
  for (const double period : {0.95, 0.9, 0.85, 0.8, 0.7, 0.6, 0.5}) {
    const std::int64_t words = run(period, equal).late_words;
    EXPECT_GE(static_cast<double>(words), 0.95 * static_cast<double>(last)) << period;
    last = words;
  }
  // Of kPositions · kRows · kCols cycles and a few idle ones; measured are 0.2 to 0.3.
  EXPECT_GT(last, kPositions * kRows * kCols / 10);
}

// Only PEs of the last row are late, so that an output is wrong where its PE was.
TEST_P(TimingErrors, DependOnTheSignsOfWeightAndProduct) {
  std::vector<double> factors(kRows * kCols, 0.3);
  std::fill(factors.end() - kCols, factors.end(), 1.0);
  const Run erring = run(0.8, factors);
  struct Share {
    std::int64_t wrong = 0, all = 0;
    double value() const { return static_cast<double>(wrong) / static_cast<double>(all); }
  };
  Share negative, positive, unchanged, sign_change;
  std::int64_t wrong_words = 0;
  for (int m = 1; m < kPositions; ++m) {
    for (int c = 0; c < kCols; ++c) {
      const bool wrong = erring.outputs[static_cast<std::size_t>(m) * kCols + c] != traffic_.right(m, c);
      const int weight = traffic_.weight(kRows - 1, c);
      const int before = weight * traffic_.activation(m - 1, kRows - 1);
      const int now = weight * traffic_.activation(m, kRows - 1);
      const auto add = [&](Share& share) { share.wrong += wrong, ++share.all; };
      if (weight != 0) add(weight < 0 ? negative : positive);
      if (before == now) add(unchanged);
      if ((before < 0) != (now < 0)) add(sign_change);
      wrong_words += wrong;
    }
  }
  // The last row's wrong words are the wrong outputs, but for those of the first position, which is not
  // looked at above, and of the cycle before it.
  EXPECT_NEAR(static_cast<double>(erring.late_words), static_cast<double>(wrong_words), 2.0 * kCols);
  for (const Share& share : {negative, positive, unchanged, sign_change}) ASSERT_GT(share.all, 1000);
  EXPECT_GT(negative.value(), 4 * positive.value());
  EXPECT_GT(negative.value(), 0.05);
  EXPECT_LT(unchanged.value(), 0.001);
  EXPECT_GT(sign_change.value(), negative.value());
}

INSTANTIATE_TEST_SUITE_P(Netlists, TimingErrors, testing::Values("pe_ripple", "pe_prefix"),
                         [](const auto& test) { return std::string(test.param); });

}  // namespace
}  // namespace kintsugi

// Which PEs of a chip may be late at an operating point, and how late.
#include "faults/chip_speed.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>
#include <set>
#include <stdexcept>
#include <string>

#include "common/files.h"
#include "common/random.h"
#include "faults/delay_map.h"
#include "faults/netlist_model.h"
#include "faults/timed_netlist.h"
#include "tests/support/input_error.h"
#include "tests/support/temporary_folder.h"

namespace kintsugi::faults {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

const std::string kPe = std::string(KINTSUGI_SOURCE_DIR) + "/configs/pes/pe_ripple.pe";

// What a bin captures wrongly, for a fixed stream of inputs.
std::vector<std::uint32_t> words_of(const TimingModel& model, int bin) {
  common::RandomStream random(1, "inputs of a PE");
  constexpr std::size_t kCount = 4096;
  std::vector<std::int8_t> activations, weights;
  std::vector<std::int32_t> psums;
  for (std::size_t i = 0; i <= kCount; ++i) {
    activations.push_back(static_cast<std::int8_t>(random.below(128)));
    weights.push_back(static_cast<std::int8_t>(static_cast<int>(random.below(256)) - 128));
    psums.push_back(static_cast<std::int32_t>(random.below(20000)) - 10000);
  }
  const std::vector<std::uint64_t> keys(kCount, 0);
  PeCycles cycles;
  cycles.count = kCount;
  cycles.activation_before = activations.data();
  cycles.activation = activations.data() + 1;
  cycles.weight_before = weights.data();
  cycles.weight = weights.data() + 1;
  cycles.psum_before = psums.data();
  cycles.psum = psums.data() + 1;
  cycles.key = keys.data();
  std::vector<std::uint32_t> errors(kCount);
  model.evaluate(bin, 1, cycles, errors.data());
  return errors;
}

class ChipSpeeds : public testing::Test {
 protected:
  // A 2x3 chip at 100 MHz with `timing` beside the model and the netlist.
  configs::ChipConfig chip(const std::string& timing, const std::string& array = "rows: 2, cols: 3",
                           const std::string& model = "model: netlist, netlist: '" + kPe + "'") {
    common::write_file_atomic(folder_ / "chip.yaml",
                              fmt::format("chip:\n  array: {{{}}}\n  clock_mhz: 100\n  timing: {{{}{}}}\n",
                                          array, model, timing.empty() ? "" : ", " + timing));
    return configs::read_chip(folder_ / "chip.yaml");
  }
  void write_factors(const std::vector<double>& factors) {
    common::write_file_atomic(folder_ / "map.csv", delay_map_csv(factors, 2, 3));
  }
  OperatingPoint at(double mhz, double voltage_v = 1.8, double temperature_c = 25) {
    return {mhz, voltage_v, temperature_c};
  }
  test::TemporaryFolder folder_;
};

TEST_F(ChipSpeeds, FitsTheNominalClockWithTheGuardBand) {
  const ChipSpeed speed(chip("guard_band: 0.25"));
  EXPECT_EQ(speed.nominal(), at(100));
  EXPECT_EQ(speed.configured(), at(100));
  EXPECT_NEAR(speed.tmin_ps(), 8000, 1e-9);
  EXPECT_NEAR(speed.relative_period(at(100)), 1.25, 1e-12);
  EXPECT_NEAR(speed.relative_period(at(200)), 0.625, 1e-12);
  EXPECT_NEAR(speed.first_failure_mhz(1.8, 25), 125, 1e-9);
  EXPECT_EQ(speed.at_risk(at(125)), 0);
  EXPECT_EQ(speed.at_risk(at(125.001)), 6);
  EXPECT_TRUE(speed.at(at(125))->harmless());
  EXPECT_EQ(speed.delays_from(), "netlist pe_ripple");
}

TEST_F(ChipSpeeds, TakesTheNetlistsOwnDelaysIfAsked) {
  const ChipSpeed speed(chip("tmin_at_clock: false"));
  const double tmin = slowest_path_ps(read_timed_netlist(kPe));
  EXPECT_EQ(speed.tmin_ps(), tmin);
  EXPECT_FALSE(speed.guard_band());
  EXPECT_NEAR(speed.relative_period(at(100)), 10000 / tmin, 1e-12);
}

// The slowest PE keeps the nominal clock, or the typical one does.
TEST_F(ChipSpeeds, FitsTheSlowestPeOrTheTypicalOne) {
  write_factors({1, 1.2, 0.8, 1, 1.5, 1});
  const ChipSpeed slowest(chip("guard_band: 0, variation: {delay_map: map.csv}"));
  EXPECT_NEAR(slowest.tmin_ps(), 10000 / 1.5, 1e-9);
  EXPECT_EQ(slowest.at_risk(at(100)), 0);
  EXPECT_NEAR(slowest.first_failure_mhz(1.8, 25), 100, 1e-9);
  const ChipSpeed typical(chip("guard_band: 0, fit: typical_pe, variation: {delay_map: map.csv}"));
  EXPECT_NEAR(typical.tmin_ps(), 10000, 1e-9);
  EXPECT_EQ(typical.at_risk(at(100)), 2);
  EXPECT_NEAR(typical.first_failure_mhz(1.8, 25), 100 / 1.5, 1e-9);
  EXPECT_NEAR(typical.slowest_relative_period(at(100)), 1 / 1.5, 1e-12);
  const auto worst = typical.slowest(1.8, 25, 3);
  ASSERT_EQ(worst.size(), 3);
  EXPECT_EQ(std::pair(worst[0].row, worst[0].col), std::pair(1, 1));
  EXPECT_EQ(worst[0].factor, 1.5);
  EXPECT_EQ(std::pair(worst[1].row, worst[1].col), std::pair(0, 1));
  EXPECT_EQ(std::pair(worst[2].row, worst[2].col), std::pair(0, 0));  // the first of three equals
}

// Effective periods T/k of 1/1.2 and 1/1.5 of Tmin, rounded down to a percent: 40 bins of half a percent
// would not reach.
TEST_F(ChipSpeeds, PutsPesAtRiskIntoBins) {
  write_factors({1, 1.2, 0.8, 1, 1.5, 1.2003});
  const ChipSpeed speed(chip("guard_band: 0, fit: typical_pe, variation: {delay_map: map.csv}"));
  const auto timing = speed.at(at(100));
  ASSERT_EQ(timing->at_risk.size(), 3);
  EXPECT_EQ(std::pair(timing->at_risk[0].row, timing->at_risk[0].col), std::pair(0, 1));
  EXPECT_EQ(timing->at_risk[0].bin, 1);
  EXPECT_EQ(std::pair(timing->at_risk[1].row, timing->at_risk[1].col), std::pair(1, 1));
  EXPECT_EQ(timing->at_risk[1].bin, 0);
  // 0.83333 and 0.83313 lie in one bin.
  EXPECT_EQ(timing->at_risk[2].bin, 1);
  ASSERT_TRUE(timing->model);
  EXPECT_EQ(timing->model->accumulator_bits(), 32);
  EXPECT_FALSE(timing->harmless());

  // What the bins capture is what the netlist does at these periods.
  const auto netlist = std::make_shared<const TimedNetlist>(read_timed_netlist(kPe));
  const double tmin = slowest_path_ps(*netlist);
  const NetlistModel expected(netlist, 50, {0.66 * tmin, 0.83 * tmin, 0.67 * tmin, 0.84 * tmin});
  EXPECT_EQ(words_of(*timing->model, 0), words_of(expected, 0));
  EXPECT_EQ(words_of(*timing->model, 1), words_of(expected, 1));
  // Which is not what it does a bin later.
  EXPECT_NE(words_of(expected, 0), words_of(expected, 2));
  EXPECT_NE(words_of(expected, 1), words_of(expected, 3));
}

TEST_F(ChipSpeeds, NeedsFewBinsForALargeChip) {
  for (const double mhz : {120.0, 150.0, 220.0}) {
    const ChipSpeed speed(chip("variation: {seed: 3}", "rows: 128, cols: 128"));
    const auto timing = speed.at(at(mhz));
    std::map<int, std::pair<double, double>> periods;  // bin -> least and greatest T/k
    for (const RiskyPe& pe : timing->at_risk) {
      const double period = 1e6 / mhz / (speed.tmin_ps() * speed.delay_factor(pe.row, pe.col, 1.8, 25));
      const auto [place, first] = periods.try_emplace(pe.bin, period, period);
      place->second.first = std::min(place->second.first, period);
      place->second.second = std::max(place->second.second, period);
    }
    EXPECT_LE(periods.size(), static_cast<std::size_t>(ChipSpeed::kMostBins) + 1) << mhz;
    EXPECT_GT(periods.size(), 3U) << mhz;
    double last = 0;
    for (const auto& [bin, range] : periods) {
      EXPECT_LE(range.second - range.first, 0.5 / ChipSpeed::kMostBins + ChipSpeed::kBinWidth) << mhz;
      EXPECT_GT(range.first, last) << mhz;  // later bins are less late
      last = range.second;
    }
    EXPECT_LT(last, 1);
    EXPECT_EQ(static_cast<std::int64_t>(timing->at_risk.size()), speed.at_risk(at(mhz)));
    EXPECT_TRUE(std::ranges::is_sorted(timing->at_risk, [](const RiskyPe& a, const RiskyPe& b) {
      return std::pair(a.row, a.col) < std::pair(b.row, b.col);
    }));
  }
}

// By hand: V/V0 · ((V0 − Vth) / (V − Vth))^1.3 · (T/T0)^1.5 at 1.5 V and 85 C is 1.3930...
TEST_F(ChipSpeeds, FollowVoltageTemperatureAndAge) {
  const ChipSpeed speed(chip("guard_band: 0, ageing_factor: 1.1, scaling: {threshold_v: 0.5}"));
  const double law = 1.5 / 1.8 * std::pow(1.3 / 1.0, 1.3) * std::pow(358.15 / 298.15, 1.5);
  EXPECT_NEAR(speed.delay_factor(0, 0, 1.8, 25), 1.1, 1e-12);
  EXPECT_NEAR(speed.delay_factor(1, 2, 1.5, 85), 1.1 * law, 1e-12);
  EXPECT_NEAR(speed.relative_period(at(50, 1.5, 85)), 2 / (1.1 * law), 1e-12);
  EXPECT_NEAR(speed.first_failure_mhz(1.5, 85), 100 / (1.1 * law), 1e-9);
  EXPECT_EQ(speed.fresh_factors(), std::vector<double>(6, 1));
  // Cold and at a high supply, even an aged chip is on time.
  EXPECT_EQ(speed.at_risk(at(100)), 6);
  EXPECT_EQ(speed.at_risk(at(100, 2.2, 0)), 0);
}

TEST_F(ChipSpeeds, VaryMoreAtALowSupply) {
  const ChipSpeed speed(chip("variation: {seed: 5}", "rows: 16, cols: 16"));
  const auto spread = [&](double voltage) {
    const auto factors = speed.delay_factors(voltage, 25);
    const auto [least, most] = std::ranges::minmax(factors);
    return most / least;
  };
  EXPECT_GT(spread(1.2), spread(1.5));
  EXPECT_GT(spread(1.5), spread(1.8));
}

TEST_F(ChipSpeeds, ADelayMapTakesAChipElsewhere) {
  const ChipSpeed sampled(chip("variation: {seed: 9}"));
  write_factors(sampled.fresh_factors());
  const ChipSpeed measured(chip("variation: {delay_map: map.csv}"));
  EXPECT_EQ(measured.delay_factors(1.8, 25), sampled.delay_factors(1.8, 25));
  EXPECT_EQ(measured.tmin_ps(), sampled.tmin_ps());
}

TEST_F(ChipSpeeds, RandomErrorsHaveNoDelays) {
  const ChipSpeed speed(
      chip("rates: {weights: 1e-3, outputs: 0.5}, seed: 4", "rows: 2, cols: 3", "model: random"));
  EXPECT_FALSE(speed.has_delays());
  EXPECT_THROW(speed.tmin_ps(), std::logic_error);
  const auto timing = speed.at(speed.configured());
  EXPECT_EQ(timing->random.weight_rate, 1e-3);
  EXPECT_EQ(timing->random.output_rate, 0.5);
  EXPECT_EQ(timing->random.activation_rate, 0);
  EXPECT_EQ(timing->random.psum_rate, 0);
  EXPECT_EQ(timing->seed, 4);
  EXPECT_TRUE(timing->at_risk.empty());
}

TEST_F(ChipSpeeds, AChipWithoutTimingNeverErrs) {
  configs::ChipConfig plain;
  const ChipSpeed speed(plain);
  EXPECT_FALSE(speed.has_delays());
  EXPECT_TRUE(speed.at(speed.configured())->harmless());
  EXPECT_EQ(speed.at(speed.configured())->rows, plain.array.rows);
}

TEST_F(ChipSpeeds, RefuseWhatNoModelKnows) {
  const ChipSpeed speed(chip("guard_band: 0"));
  EXPECT_THAT(
      test::input_error([&] { (void)speed.at(at(300)); }),
      HasSubstr("would have 0.333 of its Tmin; below 0.4 nothing is known about its errors, so lower the "
                "clock to 250 MHz"));
  EXPECT_THAT(test::input_error([&] { (void)speed.at(at(100, 0.4)); }), HasSubstr("does not switch at all"));
  EXPECT_THAT(
      test::input_error([&] { ChipSpeed(chip("", "rows: 2, cols: 3, accumulator_bits: 24")); }),
      HasSubstr(
          "this PE multiplies 8 bits and adds 32, but the array of chip 'chip' multiplies 8 and adds 24"));
  EXPECT_THAT(test::input_error([&] { ChipSpeed(chip("scaling: {threshold_v: 1.8}")); }),
              HasSubstr("'threshold_v' is 1.8 V, but the nominal supply is 1.8 V"));
}

}  // namespace
}  // namespace kintsugi::faults

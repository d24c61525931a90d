// Samplers against the statistics their models promise.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <map>
#include <set>

#include "faults/fault_map_io.h"
#include "faults/sampler.h"

namespace kintsugi::faults {
namespace {

using ::testing::HasSubstr;

SampleSpec spec_of(SampleModel model, double rate, std::uint64_t index = 0) {
  SampleSpec spec;
  spec.model = model;
  spec.rows = 64;
  spec.cols = 96;
  spec.rate = rate;
  spec.seed = 7;
  spec.index = index;
  return spec;
}

// Mean and variance of a number over chips 0 … n−1.
std::pair<double, double> moments(int n, const std::function<double(std::uint64_t)>& value) {
  double sum = 0, squares = 0;
  for (int i = 0; i < n; ++i) {
    const double x = value(static_cast<std::uint64_t>(i));
    sum += x;
    squares += x * x;
  }
  const double mean = sum / n;
  return {mean, (squares - n * mean * mean) / (n - 1)};
}

TEST(Sampler, IidHasTheBinomialsMeanAndVariance) {
  constexpr int kPes = 64 * 96, kChips = 400;
  const auto [mean, variance] = moments(kChips, [](std::uint64_t i) {
    return static_cast<double>(sample(spec_of(SampleModel::iid, 0.03, i)).faulty_pes());
  });
  const double expected = 0.03 * kPes, spread = expected * 0.97;
  EXPECT_NEAR(mean, expected, 5 * std::sqrt(spread / kChips));
  EXPECT_NEAR(variance / spread, 1, 5 * std::sqrt(2.0 / kChips));
}

TEST(Sampler, IidIsUniformOverRowsAndColumns) {
  std::vector<int> rows(64), cols(96);
  int all = 0;
  for (std::uint64_t i = 0; i < 100; ++i)
    for (const Fault& fault : sample(spec_of(SampleModel::iid, 0.05, i)).faults)
      ++rows[fault.row], ++cols[fault.col], ++all;
  const auto chi_square = [&](const std::vector<int>& counts) {
    double sum = 0;
    const double expected = static_cast<double>(all) / static_cast<double>(counts.size());
    for (const int count : counts) sum += (count - expected) * (count - expected) / expected;
    return sum;
  };
  EXPECT_LT(chi_square(rows), 63 + 5 * std::sqrt(2.0 * 63));
  EXPECT_LT(chi_square(cols), 95 + 5 * std::sqrt(2.0 * 95));
}

TEST(Sampler, ExactCountIsExact) {
  SampleSpec spec = spec_of(SampleModel::exact, 0);
  for (const std::int64_t count : {0, 1, 4, 6144}) {
    spec.faulty = count;
    const FaultMap map = sample(spec);
    EXPECT_EQ(map.faulty_pes(), count);
    EXPECT_EQ(static_cast<std::int64_t>(map.faults.size()), count);
  }
  EXPECT_EQ(sample(spec_of(SampleModel::exact, 0.1)).faulty_pes(), 614);  // 614.4 to nearest
}

TEST(Sampler, ClusteredKeepsTheRateAndSpreadsAsTheNegativeBinomial) {
  // 8×8 blocks are independent; P(PE fails) = rate, and within a block the number of faulty PEs, X, has
  // Var X = n p (1 − p) + n (n − 1) Cov, Cov = E[q²] − p², q = 1 − exp(−μG), from the gamma's Laplace
  // transform.
  constexpr double kRate = 0.05, kAlpha = 0.5;
  constexpr int kBlock = 8, kChips = 200;
  double sum = 0, squares = 0;
  int blocks = 0;
  for (std::uint64_t i = 0; i < kChips; ++i) {
    SampleSpec spec = spec_of(SampleModel::clustered, kRate, i);
    spec.clustering = kAlpha;
    spec.block = kBlock;
    std::vector<int> counts(8 * 12);
    for (const Fault& fault : sample(spec).faults) ++counts[(fault.row / kBlock) * 12 + fault.col / kBlock];
    for (const int count : counts) sum += count, squares += static_cast<double>(count) * count, ++blocks;
  }
  const double n = kBlock * kBlock, mean = sum / blocks, variance = squares / blocks - mean * mean;
  const double mu = kAlpha * (std::pow(1 - kRate, -1 / kAlpha) - 1);
  const auto laplace = [&](double s) { return std::pow(1 + s / kAlpha, -kAlpha); };
  const double second = 1 - 2 * laplace(mu) + laplace(2 * mu);
  const double expected = n * kRate * (1 - kRate) + n * (n - 1) * (second - kRate * kRate);
  EXPECT_NEAR(mean, n * kRate, 5 * std::sqrt(expected / blocks));
  EXPECT_NEAR(variance / expected, 1, 0.1);
  EXPECT_GT(variance, 3 * mean);  // far beyond Poisson
}

TEST(Sampler, WeakClusteringIsIid) {
  SampleSpec spec = spec_of(SampleModel::clustered, 0.05);
  spec.clustering = 1e6;
  spec.block = 8;
  const auto [mean, variance] = moments(300, [&](std::uint64_t i) {
    spec.index = i;
    return static_cast<double>(sample(spec).faulty_pes());
  });
  EXPECT_NEAR(mean, 307.2, 5 * std::sqrt(292.0 / 300));
  EXPECT_NEAR(variance / 291.8, 1, 5 * std::sqrt(2.0 / 300));
}

TEST(Sampler, RowsAndColumnsFailWhole) {
  for (const SampleModel model : {SampleModel::rows, SampleModel::columns}) {
    SampleSpec spec = spec_of(model, 0);
    spec.faulty = 3;
    const FaultMap map = sample(spec);
    std::map<int, int> lines;
    for (const Fault& fault : map.faults) ++lines[model == SampleModel::rows ? fault.row : fault.col];
    EXPECT_EQ(lines.size(), 3u);
    for (const auto& [line, count] : lines) EXPECT_EQ(count, model == SampleModel::rows ? 96 : 64);
    const auto [mean, variance] =
        moments(400, [&](std::uint64_t i) { return sample(spec_of(model, 0.1, i)).fault_rate(); });
    EXPECT_NEAR(mean, 0.1, 5 * std::sqrt(variance / 400));
  }
}

TEST(Sampler, RadialRateGrowsTowardsTheEdgeAndKeepsItsMean) {
  const auto dies = wafer_dies(0.08);
  double inner = 0, outer = 0, all = 0;
  int inner_dies = 0, outer_dies = 0;
  for (std::size_t i = 0; i < dies.size(); ++i) {
    const FaultMap map = sample(spec_of(SampleModel::radial, 0.02, i));
    const double radius = std::hypot(dies[i].first, dies[i].second);
    all += map.fault_rate();
    if (radius < 0.25) inner += map.fault_rate(), ++inner_dies;
    if (radius > 0.85) outer += map.fault_rate(), ++outer_dies;
  }
  // rate(ρ) = 0.02 (1 + 3ρ²) / 2.5
  EXPECT_NEAR(inner / inner_dies, 0.0084, 0.0006);
  EXPECT_NEAR(outer / outer_dies, 0.0266, 0.0015);
  // Whole dies do not reach the very edge, so their mean is a little below the disc's.
  EXPECT_NEAR(all / static_cast<double>(dies.size()), 0.0188, 0.001);

  SampleSpec corner = spec_of(SampleModel::radial, 0.2);
  corner.die = std::pair(0.7, 0.0);
  corner.die_size = 0.5;  // the gradient shows within one die: right half more than left
  int left = 0, right = 0;
  for (const Fault& fault : sample(corner).faults) ++(fault.col < 48 ? left : right);
  EXPECT_GT(right, left + 5 * std::sqrt(left));
}

TEST(Sampler, SitesByWeightBitAndPolarityUniform) {
  SampleSpec spec = spec_of(SampleModel::exact, 0);
  spec.faulty = 6000;
  spec.sites = SiteWeights{0, 5, 3, 0, 2};
  std::map<pe::Site, int> sites;
  std::map<int, int> multiplier_bits;
  int ones = 0;
  for (const Fault& fault : sample(spec).faults) {
    ASSERT_TRUE(fault.stuck);
    ++sites[fault.stuck->site];
    ones += fault.stuck->value;
    if (fault.stuck->site == pe::Site::multiplier) ++multiplier_bits[fault.stuck->bit];
    EXPECT_LT(fault.stuck->bit, pe::site_bits(fault.stuck->site, 32));
  }
  EXPECT_EQ(sites.size(), 3u);
  EXPECT_NEAR(sites[pe::Site::multiplier], 3000, 5 * std::sqrt(1500));
  EXPECT_NEAR(sites[pe::Site::adder], 1800, 5 * std::sqrt(1260));
  EXPECT_NEAR(sites[pe::Site::activation_register], 1200, 5 * std::sqrt(960));
  EXPECT_NEAR(ones, 3000, 5 * std::sqrt(1500));
  ASSERT_EQ(multiplier_bits.size(), 16u);
  for (const auto& [bit, count] : multiplier_bits) EXPECT_NEAR(count, 187.5, 5 * std::sqrt(187.5)) << bit;
}

TEST(Sampler, NarrowAccumulatorsHaveFewerBits) {
  SampleSpec spec = spec_of(SampleModel::exact, 0.5);
  spec.sites = SiteWeights{0, 0, 1, 1, 0};
  spec.accumulator_bits = 16;
  EXPECT_NO_THROW(check_against(sample(spec), 64, 96, 16));
  spec.accumulator_bits = 32;
  EXPECT_THROW(check_against(sample(spec), 64, 96, 16), common::InputError);
}

TEST(Sampler, EscapesAreLiveAndBesideTheOthers) {
  SampleSpec spec = spec_of(SampleModel::exact, 0.1);
  spec.escapes = 9;
  const FaultMap map = sample(spec);
  std::set<std::pair<int, int>> found;
  int escapes = 0;
  for (const Fault& fault : map.faults) {
    EXPECT_TRUE(found.insert({fault.row, fault.col}).second);
    escapes += fault.escape;
    EXPECT_EQ(fault.escape, fault.stuck.has_value());  // the others are of unknown nature here
  }
  EXPECT_EQ(escapes, 9);
  EXPECT_EQ(map.faulty_pes(), 614 + 9);
  EXPECT_THAT(map.meta, HasSubstr("escapes: {count: 9, sites: {weight_register: 3, multiplier: 57"));
  EXPECT_THAT(map.meta, HasSubstr("realised_rate: 0.0999348958"));
}

TEST(Sampler, AreaWeightsGiveSixteenPercentToTheRegistersBetweenPes) {
  const SiteWeights weights = area_weights();
  double sum = 0;
  for (const double weight : weights) sum += weight;
  EXPECT_NEAR((weights[static_cast<int>(pe::Site::psum_register)] +
               weights[static_cast<int>(pe::Site::activation_register)]) /
                  sum,
              0.16, 0.005);
}

TEST(Sampler, FixedBySeedAndIndexOnly) {
  for (const SampleModel model : {SampleModel::iid, SampleModel::exact, SampleModel::clustered,
                                  SampleModel::rows, SampleModel::columns, SampleModel::radial}) {
    SampleSpec spec = spec_of(model, 0.07, 3);
    spec.sites = area_weights();
    const std::string first = fault_map_yaml(sample(spec));
    EXPECT_EQ(first, fault_map_yaml(sample(spec)));
    spec.index = 4;
    const std::string other_chip = fault_map_yaml(sample(spec));
    spec.index = 3;
    spec.seed = 8;
    const std::string other_seed = fault_map_yaml(sample(spec));
    const auto faults = [](const std::string& yaml) { return yaml.substr(yaml.find("  faults:")); };
    EXPECT_NE(faults(first), faults(other_chip)) << to_string(model);
    EXPECT_NE(faults(first), faults(other_seed)) << to_string(model);
    EXPECT_THAT(first, HasSubstr("sampler: " + to_string(model)));
    EXPECT_THAT(first, HasSubstr("nominal_rate: 0.07\n"));
    EXPECT_THAT(first, HasSubstr("realised_rate: "));
    EXPECT_THAT(first, HasSubstr("seed: 7\n    index: 3\n"));
  }
}

TEST(Sampler, RatesOfALot) {
  int below = 0;
  for (std::uint64_t i = 0; i < 1000; ++i) {
    const double rate = sample_rate(0.001, 0.1, true, 1, i);
    EXPECT_GE(rate, 0.001);
    EXPECT_LE(rate, 0.1);
    below += rate < 0.01;  // half of the decades
  }
  EXPECT_NEAR(below, 500, 80);
  EXPECT_EQ(sample_rate(0.2, 0.2, false, 1, 0), 0.2);
  EXPECT_THROW(sample_rate(0, 0.1, true, 1, 0), common::InputError);
  EXPECT_THROW(sample_rate(0.2, 0.1, false, 1, 0), common::InputError);
}

TEST(Sampler, RefusesWhatCannotBe) {
  const auto refused = [](const std::function<void(SampleSpec&)>& change) {
    SampleSpec spec = spec_of(SampleModel::exact, 0.1);
    change(spec);
    try {
      sample(spec);
    } catch (const common::InputError& error) {
      return std::string(error.what());
    }
    return std::string("(accepted)");
  };
  EXPECT_THAT(refused([](auto& s) { s.rate = 1.5; }), HasSubstr("a rate of 1.5"));
  EXPECT_THAT(refused([](auto& s) { s.rows = 0; }), HasSubstr("array of 0x96"));
  EXPECT_THAT(refused([](auto& s) { s.faulty = 6145; }), HasSubstr("6145 faulty PEs; the array has 6144"));
  EXPECT_THAT(refused([](auto& s) { s.model = SampleModel::iid, s.faulty = 3; }), HasSubstr("exact number"));
  EXPECT_THAT(refused([](auto& s) { s.model = SampleModel::rows, s.faulty = 65; }),
              HasSubstr("the array has 64"));
  EXPECT_THAT(refused([](auto& s) { s.faulty = 6140, s.escapes = 5; }),
              HasSubstr("4 PEs of chip-0001 are not faulty"));
  EXPECT_THAT(refused([](auto& s) { s.sites = SiteWeights{}; }), HasSubstr("all site weights are 0"));
  EXPECT_THAT(refused([](auto& s) { s.model = SampleModel::clustered, s.clustering = 0; }),
              HasSubstr("clustering 0"));
  EXPECT_THAT(refused([](auto& s) { s.model = SampleModel::radial, s.die = std::pair(0.9, 0.9); }),
              HasSubstr("outside the wafer"));
  EXPECT_THAT(refused([](auto& s) { s.model = SampleModel::radial, s.edge_factor = 0.5; }),
              HasSubstr("edge factor 0.5"));
}

}  // namespace
}  // namespace kintsugi::faults

// Process variation and the alpha-power law against formulas worked out elsewhere.
#include "faults/variation.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <vector>

#include "common/files.h"
#include "faults/delay_map.h"
#include "faults/operating_point.h"
#include "tests/support/input_error.h"
#include "tests/support/temporary_folder.h"

namespace kintsugi::faults {
namespace {

using testing::HasSubstr;

// The numbers come from a calculator: (L·V / ((T + 273.15)^−1.5 · (V − Vth)^1.3)) over the same at 1.8 V, 25
// C, Vth 0.45 V, L 1.
TEST(AlphaPowerLaw, AgreesWithACalculator) {
  const AlphaPowerLaw law{1.8, 25, 0.45, 1.3};
  EXPECT_EQ(law.relative_delay(1.8, 25, 0.45, 1), 1);
  EXPECT_NEAR(law.relative_delay(1.6, 25, 0.45, 1), 1.0948993151885575, 1e-12);
  EXPECT_NEAR(law.relative_delay(1.8, 85, 0.45, 1), 1.3165738133304943, 1e-12);
  EXPECT_NEAR(law.relative_delay(1.2, 0, 0.5, 0.95), 1.304332693112989, 1e-12);
  EXPECT_NEAR(law.relative_delay(2.0, 110, 0.4, 1.1), 1.4276742339396022, 1e-12);
}

// The same differences between PEs weigh more at a low supply.
TEST(AlphaPowerLaw, SpreadsPesAtLowVoltage) {
  const AlphaPowerLaw law{1.8, 25, 0.45, 1.3};
  const auto spread = [&](double voltage) {
    return law.relative_delay(voltage, 25, 0.54, 1) / law.relative_delay(voltage, 25, 0.45, 1);
  };
  EXPECT_GT(spread(1.2), spread(1.5));
  EXPECT_GT(spread(1.5), spread(1.8));
  EXPECT_NEAR(spread(1.2), std::pow(0.75 / 0.66, 1.3), 1e-12);
}

// Means over chips of products of the field at PEs that are apart by (rows, columns).
class FieldStatistics {
 public:
  FieldStatistics(int rows, int cols, double range, int chips) : rows_(rows), cols_(cols) {
    for (int chip = 0; chip < chips; ++chip)
      fields_.push_back(spherical_field(static_cast<std::uint64_t>(chip), range, rows, cols));
  }
  double mean() const {
    double sum = 0;
    for (const auto& field : fields_)
      for (const double value : field) sum += value;
    return sum / static_cast<double>(fields_.size() * fields_[0].size());
  }
  double covariance(int down, int across) const {
    double sum = 0;
    std::int64_t count = 0;
    for (const auto& field : fields_)
      for (int r = 0; r + down < rows_; ++r)
        for (int c = 0; c + across < cols_; ++c, ++count)
          sum += field[static_cast<std::size_t>(r) * cols_ + c] *
                 field[static_cast<std::size_t>(r + down) * cols_ + c + across];
    return sum / static_cast<double>(count);
  }

 private:
  int rows_, cols_;
  std::vector<std::vector<double>> fields_;
};

double spherical(double distance, double range) {
  return distance >= range
             ? 0
             : 1 - 1.5 * distance / range + 0.5 * distance * distance * distance / (range * range * range);
}

// 600 chips: the standard error of a mean over the chip is about 0.02 where PEs are much alike.
TEST(SphericalField, HasTheAskedMeanVarianceAndCorrelation) {
  constexpr int kRows = 20, kCols = 32;
  constexpr double kRange = 16;
  const FieldStatistics field(kRows, kCols, kRange, 600);
  EXPECT_NEAR(field.mean(), 0, 0.05);
  for (const auto& [down, across] : {std::pair{0, 0},
                                     {0, 1},
                                     {1, 0},
                                     {0, 4},
                                     {4, 0},
                                     {3, 4},
                                     {0, 8},
                                     {8, 0},
                                     {6, 8},
                                     {0, 12},
                                     {12, 0},
                                     {0, 16},
                                     {19, 0},
                                     {0, 31}})
    EXPECT_NEAR(field.covariance(down, across), spherical(std::hypot(down, across), kRange), 0.06)
        << down << " down, " << across << " across";
}

// A correlation that reaches beyond the chip, and one that hardly leaves a PE.
TEST(SphericalField, IsExactAtAnyRange) {
  const FieldStatistics wide(8, 8, 40, 1500);
  EXPECT_NEAR(wide.covariance(0, 0), 1, 0.08);
  EXPECT_NEAR(wide.covariance(7, 7), spherical(std::hypot(7, 7), 40), 0.08);
  const FieldStatistics narrow(24, 24, 1.5, 60);
  EXPECT_NEAR(narrow.covariance(0, 0), 1, 0.03);
  EXPECT_NEAR(narrow.covariance(0, 1), spherical(1, 1.5), 0.03);
  EXPECT_NEAR(narrow.covariance(1, 1), spherical(std::sqrt(2), 1.5), 0.03);
  EXPECT_NEAR(narrow.covariance(0, 2), 0, 0.03);
}

struct Moments {
  double mean = 0, sigma = 0;
};
Moments moments(const std::vector<double>& values) {
  Moments result;
  for (const double value : values) result.mean += value;
  result.mean /= static_cast<double>(values.size());
  for (const double value : values) result.sigma += (value - result.mean) * (value - result.mean);
  result.sigma = std::sqrt(result.sigma / static_cast<double>(values.size()));
  return result;
}

double correlation(const std::vector<double>& a, const std::vector<double>& b) {
  const Moments of_a = moments(a), of_b = moments(b);
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += (a[i] - of_a.mean) * (b[i] - of_b.mean);
  return sum / static_cast<double>(a.size()) / (of_a.sigma * of_b.sigma);
}

// Values of many chips side by side.
Variation chips(configs::SampledVariation config, int count) {
  Variation all;
  for (int chip = 0; chip < count; ++chip) {
    config.seed = static_cast<std::uint64_t>(chip);
    const Variation one = sample_variation(config, 16, 16);
    all.threshold.insert(all.threshold.end(), one.threshold.begin(), one.threshold.end());
    all.length.insert(all.length.end(), one.length.begin(), one.length.end());
  }
  return all;
}

TEST(Variation, HasTheAskedSigmasAndShares) {
  configs::SampledVariation config;
  for (const double share : {0.0, 0.5, 1.0}) {
    config.systematic_share = share;
    const Variation all = chips(config, 400);
    const Moments threshold = moments(all.threshold), length = moments(all.length);
    EXPECT_NEAR(threshold.mean, 1, 0.006) << share;
    EXPECT_NEAR(threshold.sigma, 0.09, 0.005) << share;
    EXPECT_NEAR(length.mean, 1, 0.003) << share;
    EXPECT_NEAR(length.sigma, 0.045, 0.0025) << share;
    // The systematic part is common to both, the random parts are independent.
    EXPECT_NEAR(correlation(all.threshold, all.length), share, 0.05);
    // Neighbours share the systematic part only.
    std::vector<double> here, right;
    for (std::size_t pe = 0; pe < all.threshold.size(); ++pe) {
      if (pe % 16 == 15) continue;
      here.push_back(all.threshold[pe]);
      right.push_back(all.threshold[pe + 1]);
    }
    EXPECT_NEAR(correlation(here, right), share * spherical(1, 8), 0.05);
  }
}

TEST(Variation, IsTheChipsOfItsSeed) {
  configs::SampledVariation config;
  const Variation one = sample_variation(config, 12, 7), same = sample_variation(config, 12, 7);
  EXPECT_EQ(one.threshold, same.threshold);
  EXPECT_EQ(one.length, same.length);
  config.seed = 2;
  EXPECT_NE(sample_variation(config, 12, 7).threshold, one.threshold);
  config.vth_sigma = 0;
  EXPECT_EQ(sample_variation(config, 2, 2).threshold, std::vector<double>(4, 1));
  EXPECT_EQ(sample_variation(config, 2, 2).length, std::vector<double>(4, 1));
}

class DelayMaps : public testing::Test {
 protected:
  std::filesystem::path write(const std::string& text) {
    common::write_file_atomic(folder_ / "map.csv", text);
    return folder_ / "map.csv";
  }
  test::TemporaryFolder folder_;
};

TEST_F(DelayMaps, AreReadAsTheyAreWritten) {
  const std::vector<double> factors = {1, 0.1 + 0.2, 1.25, 2.0 / 3, 0.9, 1.0000000000000002};
  EXPECT_EQ(read_delay_map(write(delay_map_csv(factors, 2, 3)), 2, 3), factors);
  // In any order.
  EXPECT_EQ(read_delay_map(write("row,col,factor\n0,1,1.5\n0,0,0.5\n"), 1, 2),
            (std::vector<double>{0.5, 1.5}));
}

TEST_F(DelayMaps, NameEveryProblem) {
  const auto file = write("row,col,factor\n0,0,1\n0,0,1.1\n0,2,1\n1,x,1\n1,0,0\n1,1\n");
  const std::string text = test::input_error([&] { read_delay_map(file, 2, 2); });
  EXPECT_THAT(text, HasSubstr("map.csv:3:1: error: PE (0, 0) is here for the second time"));
  EXPECT_THAT(text, HasSubstr("map.csv:4:3: error: a column of this array is a whole number from 0 to 1, but "
                              "this is '2'"));
  EXPECT_THAT(text, HasSubstr("map.csv:5:3: error: a column of this array"));
  EXPECT_THAT(text, HasSubstr("map.csv:6:5: error: a delay factor is a number from 0.05 to 20"));
  EXPECT_THAT(text, HasSubstr("map.csv:7:1: error: a line of a delay map has 3 cells"));
  EXPECT_THAT(text, HasSubstr("2 of the 4 PEs of a 2x2 array have no delay factor: (0, 1), (1, 1)"));
  EXPECT_THAT(test::input_error([&] { read_delay_map(write("1,2\n3,4\n"), 2, 2); }),
              HasSubstr("begins with the line 'row,col,factor'"));
}

}  // namespace
}  // namespace kintsugi::faults

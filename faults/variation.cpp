#include "faults/variation.h"

#include <algorithm>
#include <cmath>
#include <complex>
#include <cstddef>
#include <unsupported/Eigen/FFT>

#include "common/random.h"

namespace kintsugi::faults {
namespace {

using Complex = std::complex<double>;

double spherical_correlation(double distance, double range) {
  if (distance >= range) return 0;
  const double x = distance / range;
  return 1 - 1.5 * x + 0.5 * x * x * x;
}

// The next size that a fast Fourier transform is fast at.
int transform_size(int least) {
  for (int size = least;; ++size) {
    int rest = size;
    for (const int factor : {2, 3, 5})
      while (rest % factor == 0) rest /= factor;
    if (rest == 1) return size;
  }
}

// In place; row by row, then column by column.
void transform(std::vector<Complex>& values, int rows, int cols) {
  Eigen::FFT<double> fft;
  std::vector<Complex> in(static_cast<std::size_t>(cols)), out;
  for (int r = 0; r < rows; ++r) {
    const auto row = values.begin() + static_cast<std::ptrdiff_t>(r) * cols;
    std::copy(row, row + cols, in.begin());
    fft.fwd(out, in);
    std::copy(out.begin(), out.end(), row);
  }
  in.resize(static_cast<std::size_t>(rows));
  for (int c = 0; c < cols; ++c) {
    for (int r = 0; r < rows; ++r) in[r] = values[static_cast<std::size_t>(r) * cols + c];
    fft.fwd(out, in);
    for (int r = 0; r < rows; ++r) values[static_cast<std::size_t>(r) * cols + c] = out[r];
  }
}

double rounded(double value) {
  return std::nearbyint(value * 0x1.0p30) * 0x1.0p-30;
}

}  // namespace

std::vector<double> spherical_field(std::uint64_t seed, double range, int rows, int cols) {
  // Copies of the array that the correlation reaches would have to be added to it. Twice the range keeps the
  // torus from meeting itself, rows + range keeps the array's ends apart.
  const int reach = static_cast<int>(std::ceil(range));
  const int height = transform_size(std::max(rows + reach, 2 * reach));
  const int width = transform_size(std::max(cols + reach, 2 * reach));
  std::vector<Complex> values(static_cast<std::size_t>(height) * width);
  for (int r = 0; r < height; ++r)
    for (int c = 0; c < width; ++c)
      values[static_cast<std::size_t>(r) * width + c] =
          spherical_correlation(std::hypot(std::min(r, height - r), std::min(c, width - c)), range);
  transform(values, height, width);
  // The real part of the transform of independent complex normals, each times the root of its eigenvalue.
  common::RandomStream random(seed, "systematic variation");
  const double scale = 1.0 / static_cast<double>(values.size());
  for (Complex& value : values) {
    const double root = std::sqrt(std::max(value.real(), 0.0) * scale);  // below 0 by rounding only
    const double real = random.normal();
    value = Complex(root * real, root * random.normal());
  }
  transform(values, height, width);
  std::vector<double> field(static_cast<std::size_t>(rows) * cols);
  for (int r = 0; r < rows; ++r)
    for (int c = 0; c < cols; ++c)
      field[static_cast<std::size_t>(r) * cols + c] = values[static_cast<std::size_t>(r) * width + c].real();
  return field;
}

Variation sample_variation(const configs::SampledVariation& config, int rows, int cols) {
  const std::size_t pes = static_cast<std::size_t>(rows) * cols;
  const double systematic = config.vth_sigma * std::sqrt(config.systematic_share);
  const double random = config.vth_sigma * std::sqrt(1 - config.systematic_share);
  const std::vector<double> field =
      spherical_field(config.seed, config.correlation_range * std::max(rows, cols), rows, cols);
  common::RandomStream thresholds(config.seed, "random variation of thresholds");
  common::RandomStream lengths(config.seed, "random variation of lengths");
  Variation variation;
  variation.threshold.resize(pes);
  variation.length.resize(pes);
  for (std::size_t pe = 0; pe < pes; ++pe) {
    variation.threshold[pe] = rounded(1 + systematic * field[pe] + random * thresholds.normal());
    variation.length[pe] =
        rounded(1 + config.leff_sigma_ratio * (systematic * field[pe] + random * lengths.normal()));
  }
  return variation;
}

}  // namespace kintsugi::faults

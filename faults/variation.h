// Process variation over a chip, as VARIUS describes it (Sarangi et al., IEEE TSM 21(1), 2008): every PE's
// threshold voltage and channel length, each with a systematic part that nearby PEs share and a random part
// of its own.
#pragma once

#include <vector>

#include "configs/timing.h"

namespace kintsugi::faults {

// Row by row, relative to the mean: 1.05 is 5 % above it.
struct Variation {
  std::vector<double> threshold;
  std::vector<double> length;
};

// The systematic part is a Gaussian random field with the spherical correlation
//   ρ(d) = 1 − 1.5 d/φ + 0.5 (d/φ)³ for d < φ, 0 beyond,
// d in widths of the chip: PEs are square, and the longer side of the array is the chip's width. It is the
// same field for threshold and length (VARIUS derives one from the other); the random parts are independent.
// The same seed gives the same chip; values are rounded to 2^−30, so that last bits of a machine's
// mathematical functions do not matter.
Variation sample_variation(const configs::SampledVariation& config, int rows, int cols);

// Samples of the field alone: mean 0, standard deviation 1. Exact (up to rounding) at every size: circulant
// embedding (Dietrich and Newsam, SIAM J. Sci. Comput. 18(4), 1997) on a torus so large that the correlation,
// which ends at φ, does not reach around it; its eigenvalues are then never negative. `range`: φ in PEs.
std::vector<double> spherical_field(std::uint64_t seed, double range, int rows, int cols);

}  // namespace kintsugi::faults

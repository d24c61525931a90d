// Intervals for shares of images or chips: how sure a figure is. All are 95 % and two-sided.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace kintsugi::training::reduce {

// Standard normal quantile of 97.5 %.
inline constexpr double kZ95 = 1.959963984540054;

struct Interval {
  double estimate = 0;
  double low = 0;
  double high = 0;
};

// A share `hits` of `trials` with Wilson's score interval (Wilson 1927). No trials: estimate 0, interval 0
// … 1.
Interval wilson(std::int64_t hits, std::int64_t trials);

// How the same `images` images fared under two sets of weights: `gained` were wrong before and are right now,
// `lost` the other way round. The difference in accuracy (now − before, in fractions) with the interval for
// paired proportions of Bonett and Price (2012): Wald's, with one added to each discordant count, which
// keeps its coverage where few images differ. The estimate itself is the plain (gained − lost) / images.
Interval paired_difference(std::int64_t gained, std::int64_t lost, std::int64_t images);

// The ascending sequence that is nearest to `values` in weighted least squares (isotonic regression, by
// pooling adjacent violators; Ayer et al. 1955). As many `weights` (all positive) as values.
std::vector<double> isotonic(std::span<const double> values, std::span<const double> weights);

}  // namespace kintsugi::training::reduce

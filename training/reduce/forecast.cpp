#include "training/reduce/forecast.h"

#include <algorithm>
#include <cmath>
#include <span>

namespace kintsugi::training::reduce {
namespace {

double accuracy_at(const AccuracyRun& run, std::int64_t steps) {
  const auto above = std::find_if(run.points.begin(), run.points.end(),
                                  [&](const AccuracyRun::Point& point) { return point.steps >= steps; });
  if (above == run.points.end()) return run.points.back().accuracy;
  if (above == run.points.begin() || above->steps == steps) return above->accuracy;
  const AccuracyRun::Point& below = *(above - 1);
  const double t = static_cast<double>(steps - below.steps) / static_cast<double>(above->steps - below.steps);
  return below.accuracy + t * (above->accuracy - below.accuracy);
}

// Mean, least, greatest.
Interval spread(std::span<const AccuracyRun> runs, std::int64_t steps) {
  Interval result{0, 2, -1};
  for (const AccuracyRun& run : runs) {
    const double accuracy = accuracy_at(run, steps);
    result.estimate += accuracy / static_cast<double>(runs.size());
    result.low = std::min(result.low, accuracy);
    result.high = std::max(result.high, accuracy);
  }
  return result;
}

}  // namespace

Forecast::Forecast(std::vector<AccuracyRun> runs, configs::Predictor predictor, int neighbours)
    : runs_(std::move(runs)), predictor_(predictor), neighbours_(neighbours) {
  std::erase_if(runs_, [](const AccuracyRun& run) { return run.points.empty(); });
  if (predictor_ == configs::Predictor::fault_rate)
    for (AccuracyRun& run : runs_) run.value = run.fault_rate;
  std::stable_sort(runs_.begin(), runs_.end(),
                   [](const AccuracyRun& a, const AccuracyRun& b) { return a.value < b.value; });
}

std::optional<Interval> Forecast::at(double value, std::int64_t steps) const {
  if (runs_.empty() || !(value <= runs_.back().value)) return std::nullopt;
  if (predictor_ != configs::Predictor::fault_rate) {
    // The window of neighbours that reaches least far.
    const auto count = std::min<std::size_t>(static_cast<std::size_t>(neighbours_), runs_.size());
    std::size_t best = 0;
    double reach = INFINITY;
    for (std::size_t first = 0; first + count <= runs_.size(); ++first) {
      const double far =
          std::max(std::fabs(value - runs_[first].value), std::fabs(runs_[first + count - 1].value - value));
      if (far < reach) {
        reach = far;
        best = first;
      }
    }
    return spread(std::span(runs_).subspan(best, count), steps);
  }
  const auto at_rate = [&](double rate) {
    const auto [from, to] =
        std::equal_range(runs_.begin(), runs_.end(), AccuracyRun{rate, rate, {}},
                         [](const AccuracyRun& a, const AccuracyRun& b) { return a.value < b.value; });
    return spread(std::span(from, to), steps);
  };
  const auto above =
      std::find_if(runs_.begin(), runs_.end(), [&](const AccuracyRun& run) { return run.value >= value; });
  const Interval high = at_rate(above->value);
  if (above == runs_.begin() || above->value == value) return high;
  const double below = (above - 1)->value;
  const Interval low = at_rate(below);
  const double t = (value - below) / (above->value - below);
  const auto mix = [&](double a, double b) { return a + t * (b - a); };
  return Interval{mix(low.estimate, high.estimate), mix(low.low, high.low), mix(low.high, high.high)};
}

}  // namespace kintsugi::training::reduce

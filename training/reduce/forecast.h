// What accuracy a chip will have after a planned amount of retraining, judged by characterised maps like it.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "configs/campaign.h"
#include "training/reduce/statistics.h"

namespace kintsugi::training::reduce {

// Accuracy of one characterised map on the decision images, by amount (ascending in steps).
struct AccuracyRun {
  double fault_rate = 0;  // nominal
  double value = 0;       // of the predictor
  struct Point {
    std::int64_t steps;
    double accuracy;
  };
  std::vector<Point> points;
};

class Forecast {
 public:
  // `neighbours`: how many maps are asked for a predictor other than the fault rate, at least 1.
  Forecast(std::vector<AccuracyRun> runs, configs::Predictor predictor, int neighbours);

  // Mean, least and greatest accuracy after `steps`, each map's linear between its amounts and level after
  // the last. By fault rate: of the repeats at each rate, linear between rates, the lowest rate's below it.
  // By another predictor: of the maps nearest in value. Absent above the highest value, or without runs.
  std::optional<Interval> at(double value, std::int64_t steps) const;

 private:
  std::vector<AccuracyRun> runs_;  // ascending in value (fault rate)
  configs::Predictor predictor_;
  int neighbours_;
};

}  // namespace kintsugi::training::reduce

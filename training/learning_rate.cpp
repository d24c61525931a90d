#include "training/learning_rate.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace kintsugi::training {

double learning_rate(const configs::SgdConfig& sgd, std::int64_t step, std::int64_t total_steps) {
  const auto total = static_cast<double>(total_steps);
  const double done = total_steps > 0 ? std::min(1.0, static_cast<double>(step) / total) : 1.0;
  switch (sgd.schedule.kind) {
    case configs::ScheduleKind::constant:
      break;
    case configs::ScheduleKind::step: {
      double rate = sgd.learning_rate;
      for (const double milestone : sgd.schedule.milestones) {
        if (static_cast<double>(step) >= milestone * total) rate *= sgd.schedule.gamma;
      }
      return rate;
    }
    case configs::ScheduleKind::cosine:
      return sgd.learning_rate * 0.5 * (1 + std::cos(std::numbers::pi * done));
    case configs::ScheduleKind::linear:
      return sgd.learning_rate * (1 - done);
  }
  return sgd.learning_rate;
}

}  // namespace kintsugi::training

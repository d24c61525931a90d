#include "sim/campaign_plots.h"

#include <fmt/format.h>

#include <algorithm>

#include "sim/svg_plot.h"

namespace kintsugi::sim {

std::string compare_picture(const CampaignReport& report, const reduce::Constraint& constraint) {
  const double baseline =
      report.test_images > 0 ? static_cast<double>(report.test_int8) / static_cast<double>(report.test_images)
                             : 0;
  const double limit = 100 * (constraint.limit() + (constraint.is_drop() ? baseline : 0));
  double most = 1, low = limit, high = std::max(limit, 100 * baseline);
  for (const PolicyReport& policy : report.policies)
    for (const reduce::ChipResult& chip : policy.chips) {
      if (!chip.final) continue;
      most = std::max(most, static_cast<double>(chip.steps));
      low = std::min(low, 100 * chip.final->accuracy());
      high = std::max(high, 100 * chip.final->accuracy());
    }
  std::vector<std::string> panels;
  for (const PolicyReport& policy : report.policies) {
    LineChart chart;
    chart.title = fmt::format("{}: {} of {} chips meet it, {:.0f} steps a chip", policy.all.policy,
                              policy.all.met, policy.all.chips, policy.all.mean_steps);
    chart.x_label = "retraining spent (steps)";
    chart.y_label = "accuracy on the test set (%)";
    chart.x_from = 0;
    chart.x_to = most;
    chart.y_from = low - 0.05 * (high - low);
    chart.y_to = high + 0.05 * (high - low);
    chart.y_rules.push_back({limit, "constraint"});
    ChartSeries met{"meets it", {}}, missed{"misses it", {}};
    for (ChartSeries* series : {&met, &missed}) series->line = false;
    for (const reduce::ChipResult& chip : policy.chips) {
      if (!chip.final) continue;
      ChartSeries& series = constraint.met(*chip.final) ? met : missed;
      series.points.push_back(
          {static_cast<double>(chip.steps), 100 * chip.final->accuracy(), std::nullopt, std::nullopt});
    }
    chart.series = {met, missed};
    panels.push_back(svg(chart));
  }
  return svg_grid(panels, 2);
}

}  // namespace kintsugi::sim

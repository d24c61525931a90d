#include "sim/overclock_plots.h"

#include <fmt/format.h>

#include "common/text.h"
#include "sim/svg_plot.h"

namespace kintsugi::sim {
namespace {

struct Line {
  const char* name;
  const char* title;
  bool dashed;
};
constexpr Line kLines[] = {{"original", "original", false}, {"twa", "TWA", false},
                           {"twa_clp", "TWA+CLP", false},   {"control", "more steps", true},
                           {"noise", "noise", true},        {"dropout", "dropout", true}};

std::string axis(const configs::OperatingSweep& sweep) {
  switch (sweep.kind) {
    case configs::SweepKind::frequency:
      return "clock (MHz)";
    case configs::SweepKind::voltage:
      return "supply (V)";
    case configs::SweepKind::bit_error_rate:
      return "bit error rate";
  }
  return "";
}

std::string accuracy_picture(const OverclockReport& report, bool top5) {
  const OverclockInputs& inputs = *report.inputs;
  const configs::OperatingSweep& sweep = inputs.config.sweep;
  LineChart chart;
  chart.title = fmt::format("{} on {}, {}", inputs.network.name, inputs.training.name, inputs.chip.name);
  chart.x_label = axis(sweep);
  chart.y_label = top5 ? "top-5 accuracy (%)" : "top-1 accuracy (%)";
  chart.log_x = sweep.kind == configs::SweepKind::bit_error_rate;
  for (const Line& line : kLines) {
    ChartSeries series;
    series.name = line.title;
    series.dashed = line.dashed;
    for (std::size_t p = 0; p < report.points.size(); ++p) {
      const ModelAtPoint* model = report.points[p].model(line.name);
      if (model == nullptr) continue;
      const reduce::Score& score = top5 ? *model->test.top5 : model->test.top1;
      const reduce::Interval share = reduce::wilson(score.correct, score.images);
      series.points.push_back(
          {inputs.points[p].value, 100 * share.estimate, 100 * share.low, 100 * share.high});
    }
    if (!series.points.empty()) chart.series.push_back(std::move(series));
  }
  const OverclockScore& right = report.test;
  chart.y_rules.push_back({100 * (top5 ? *right.top5 : right.top1).accuracy(), "without errors"});
  if (report.tipping) chart.x_rules.push_back({inputs.points[*report.tipping].value, "tipping point"});
  return svg(chart);
}

std::string errors_picture(const OverclockReport& report, std::size_t p) {
  const OverclockInputs& inputs = *report.inputs;
  StackedBars chart;
  chart.title = fmt::format("Wrong outputs by layer at {}, original weights", inputs.points[p].label);
  chart.x_label = "layer";
  chart.y_label = "share of int8 outputs (%)";
  chart.segments = {"wrong by 1 to 5", "wrong by more than 5"};
  for (std::size_t s = 0; s < inputs.network.stages.size(); ++s) {
    const overclock::ErrorCounts& errors = report.points[p].original[s];
    if (errors.outputs() == 0) continue;
    chart.labels.push_back(inputs.network.stages[s].name);
    chart.values.push_back({100 * errors.share(errors.small), 100 * errors.share(errors.large)});
  }
  return svg(chart);
}

}  // namespace

std::vector<std::pair<std::string, std::string>> overclock_plots(const OverclockReport& report) {
  std::vector<std::pair<std::string, std::string>> pictures{
      {"accuracy_top1.svg", accuracy_picture(report, false)}};
  if (report.test.top5) pictures.emplace_back("accuracy_top5.svg", accuracy_picture(report, true));
  for (std::size_t p = 0; p < report.points.size(); ++p)
    if (report.points[p].critical)
      pictures.emplace_back(fmt::format("errors_{}.svg", report.inputs->points[p].name),
                            errors_picture(report, p));
  return pictures;
}

}  // namespace kintsugi::sim

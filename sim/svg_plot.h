// Small charts as SVG text, for reports: the same data give the same bytes.
//
// Colours are Okabe and Ito's, which people with any colour vision tell apart; series differ in marker too.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace kintsugi::sim {

struct ChartPoint {
  double x = 0;
  double y = 0;
  std::optional<double> low, high;  // ends of an interval around y
};

struct ChartSeries {
  std::string name;  // empty: not in the legend
  std::vector<ChartPoint> points;
  bool dashed = false;
  bool markers = true;
  bool line = true;
};

// A dotted line across the chart, with its text beside it.
struct ChartRule {
  double at = 0;
  std::string text;
};

struct LineChart {
  std::string title;
  std::string x_label, y_label;  // with units
  bool log_x = false;            // points with x <= 0 are left out
  bool log_y = false;            // likewise with y <= 0
  // Ends of the axes; absent: so that everything is seen.
  std::optional<double> x_from, x_to, y_from, y_to;
  std::vector<ChartSeries> series;  // at most eight have colours of their own
  std::vector<ChartRule> x_rules, y_rules;
};

// One bar a label, made of segments from the bottom up.
struct StackedBars {
  std::string title;
  std::string x_label, y_label;
  std::vector<std::string> segments;        // names, for the legend
  std::vector<std::string> labels;          // of the bars
  std::vector<std::vector<double>> values;  // [bar][segment], none negative
  std::optional<double> y_to;
};

// Whole SVG documents. Values that are not finite are left out. Throws std::invalid_argument if bars and
// labels, or segments and values, differ in number.
std::string svg(const LineChart& chart);
std::string svg(const StackedBars& chart);

// Pictures made by these functions side by side, row by row, in one document.
std::string svg_grid(const std::vector<std::string>& pictures, int columns);

// Round numbers that span [low, high], about `wanted` of them: 0, 0.2, 0.4, …
std::vector<double> axis_ticks(double low, double high, int wanted);

}  // namespace kintsugi::sim

#include "sim/svg_plot.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <iterator>
#include <limits>
#include <stdexcept>
#include <string_view>

#include "sim/svg_label.h"

namespace kintsugi::sim {
namespace {

constexpr double kPlotWidth = 520, kPlotHeight = 320;
constexpr double kTop = 44, kGap = 16, kLetter = 6.7, kLine = 18, kMarker = 4;
constexpr std::array<const char*, 8> kColours = {"#0072B2", "#D55E00", "#009E73", "#CC79A7",
                                                 "#E69F00", "#56B4E9", "#000000", "#8C6D31"};

const char* colour(std::size_t i) {
  return kColours[i % kColours.size()];
}

// A coordinate: two decimals are finer than any screen.
std::string px(double value) {
  const double rounded = std::round(value * 100) / 100;
  return fmt::format("{}", rounded == 0 ? 0.0 : rounded);
}

std::string escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '&')
      out += "&amp;";
    else if (c == '<')
      out += "&lt;";
    else if (c == '>')
      out += "&gt;";
    else if (c == '"')
      out += "&quot;";
    else if (static_cast<unsigned char>(c) >= 0x20)
      out += c;
  }
  return out;
}

// Characters, not bytes.
double text_width(std::string_view text) {
  const auto letters = std::count_if(text.begin(), text.end(),
                                     [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; });
  return kLetter * static_cast<double>(letters);
}

// A tick's text: as many decimals as its neighbours need to differ.
std::string tick_text(double value, double step) {
  const double largest = std::max(std::abs(value), step);
  if (largest >= 1e7 || step < 1e-5) return fmt::format("{:.4g}", value);
  const int decimals = std::max(0, static_cast<int>(std::ceil(-std::log10(step) - 1e-9)));
  return fmt::format("{:.{}f}", value == 0 ? 0.0 : value, decimals);
}

// One axis: values to a place between 0 and 1, and its ticks.
class Axis {
 public:
  // `pad`: share of the axis that stays free at either end, so that markers are seen whole.
  Axis(double low, double high, bool log, std::optional<double> from, std::optional<double> to, double pad)
      : log_(log), pad_(pad), from_(from.value_or(low)), to_(to.value_or(high)) {
    if (log_) {
      make_log(from.has_value(), to.has_value());
    } else {
      make_linear(from.has_value(), to.has_value());
    }
  }

  double place(double value) const {
    const double inside =
        log_ ? std::log(value / from_) / std::log(to_ / from_) : (value - from_) / (to_ - from_);
    return pad_ + (1 - 2 * pad_) * inside;
  }
  const std::vector<double>& ticks() const { return ticks_; }
  std::string text(double tick) const { return log_ ? fmt::format("{:g}", tick) : tick_text(tick, step_); }

 private:
  void make_linear(bool fixed_from, bool fixed_to) {
    if (to_ <= from_) {
      const double room = from_ == 0 ? 1 : std::abs(from_) * 0.1;
      if (!fixed_from) from_ -= room;
      if (!fixed_to || to_ <= from_) to_ = from_ + 2 * room;
    }
    constexpr int kWanted = 6;
    ticks_ = axis_ticks(from_, to_, kWanted);
    step_ = ticks_.size() > 1 ? ticks_[1] - ticks_[0] : to_ - from_;
    if (!fixed_from) from_ = std::floor(from_ / step_ + 1e-9) * step_;
    if (!fixed_to) to_ = std::ceil(to_ / step_ - 1e-9) * step_;
    ticks_ = axis_ticks(from_, to_, kWanted);
    step_ = ticks_.size() > 1 ? ticks_[1] - ticks_[0] : to_ - from_;
  }

  // Ends at whole decades, or at 1, 2 or 5 times one where decades would leave most of the chart empty.
  void make_log(bool fixed_from, bool fixed_to) {
    constexpr double kNear = 1e-9;
    if (from_ <= 0) from_ = to_ > 0 ? to_ / 10 : 1;
    if (to_ <= from_) to_ = from_ * 10;
    const double first = std::floor(std::log10(from_) + kNear), last = std::ceil(std::log10(to_) - kNear);
    const bool narrow = last - first <= 2;
    double below = from_, above = 0;
    for (double decade = first; decade <= last; ++decade)
      for (const double digit : {1.0, 2.0, 5.0}) {
        if (!narrow && digit != 1) continue;
        const double tick = digit * std::pow(10, decade);
        if (tick <= from_ * (1 + kNear)) below = tick;
        if (tick >= to_ * (1 - kNear) && above == 0) above = tick;
        ticks_.push_back(tick);
      }
    if (!fixed_from) from_ = below;
    if (!fixed_to && above > 0) to_ = above;
    std::erase_if(ticks_,
                  [&](double tick) { return tick < from_ * (1 - kNear) || tick > to_ * (1 + kNear); });
  }

  bool log_;
  double pad_;
  double from_, to_, step_ = 1;
  std::vector<double> ticks_;
};

struct Legend {
  std::string name, colour;
  int marker = -1;  // −1: a filled square
  bool dashed = false;
  bool line = true;  // beside the marker
};

std::string marker_at(int shape, double x, double y, const std::string& colour) {
  const double r = kMarker;
  switch (shape % 4) {
    case 0:
      return fmt::format("<circle cx=\"{}\" cy=\"{}\" r=\"{}\" fill=\"{}\"/>\n", px(x), px(y), px(r), colour);
    case 1:
      return fmt::format("<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" fill=\"{}\"/>\n",
                         px(x - r + 0.5), px(y - r + 0.5), px(2 * r - 1), px(2 * r - 1), colour);
    case 2:
      return fmt::format("<path d=\"M{} {}L{} {}L{} {}Z\" fill=\"{}\"/>\n", px(x), px(y - r - 0.5), px(x + r),
                         px(y + r - 1), px(x - r), px(y + r - 1), colour);
    default:
      return fmt::format("<path d=\"M{} {}L{} {}L{} {}L{} {}Z\" fill=\"{}\"/>\n", px(x), px(y - r - 0.5),
                         px(x + r + 0.5), px(y), px(x), px(y + r + 0.5), px(x - r - 0.5), px(y), colour);
  }
}

// The document around a plot: frame, titles, axes, legend.
class Page {
 public:
  Page(const std::vector<Legend>& legend, double left, double bottom) : left_(left) {
    double widest = 0;
    for (const Legend& one : legend) widest = std::max(widest, text_width(one.name));
    legend_width_ = legend.empty() ? 0 : widest + 40;
    width_ = left_ + kPlotWidth + kGap + legend_width_;
    height_ = kTop + kPlotHeight + bottom;
    out_ = fmt::format(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0}\" height=\"{1}\" viewBox=\"0 0 {0} {1}\" "
        "font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"{0}\" height=\"{1}\" "
        "fill=\"#FFFFFF\"/>\n",
        px(width_), px(height_));
    double y = kTop + 12;
    for (const Legend& one : legend) {
      add_legend(one, y);
      y += kLine;
    }
  }

  void text(double x, double y, std::string_view anchor, std::string_view content,
            std::string_view more = "") {
    if (content.empty()) return;
    out_ += fmt::format("<text x=\"{}\" y=\"{}\" text-anchor=\"{}\"{}>{}</text>\n", px(x), px(y), anchor,
                        more, escaped(content));
  }

  void line(double x1, double y1, double x2, double y2, std::string_view style) {
    out_ += fmt::format("<line x1=\"{}\" y1=\"{}\" x2=\"{}\" y2=\"{}\" {}/>\n", px(x1), px(y1), px(x2),
                        px(y2), style);
  }

  void titles(const std::string& title, const std::string& x_label, const std::string& y_label) {
    text(left_ + kPlotWidth / 2, 24, "middle", title, " font-size=\"15\" font-weight=\"bold\"");
    text(left_ + kPlotWidth / 2, height_ - 12, "middle", x_label);
    const double middle = kTop + kPlotHeight / 2;
    text(16, middle, "middle", y_label, fmt::format(" transform=\"rotate(-90 16 {})\"", px(middle)));
  }

  void y_axis(const Axis& axis) {
    for (const double tick : axis.ticks()) {
      const double y = kTop + kPlotHeight * (1 - axis.place(tick));
      line(left_, y, left_ + kPlotWidth, y, "stroke=\"#DDDDDD\"");
      text(left_ - 7, y + 4, "end", axis.text(tick));
    }
  }

  void x_axis(const Axis& axis) {
    for (const double tick : axis.ticks()) {
      const double x = left_ + kPlotWidth * axis.place(tick);
      line(x, kTop, x, kTop + kPlotHeight, "stroke=\"#EEEEEE\"");
      text(x, kTop + kPlotHeight + 18, "middle", axis.text(tick));
    }
  }

  // What `inside` draws in plot coordinates is cut off at the frame.
  void plot(const std::string& inside) {
    out_ += fmt::format("<svg x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\">\n{}</svg>\n", px(left_), px(kTop),
                        px(kPlotWidth), px(kPlotHeight), inside);
    out_ +=
        fmt::format("<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" fill=\"none\" stroke=\"#444444\"/>\n",
                    px(left_), px(kTop), px(kPlotWidth), px(kPlotHeight));
  }

  double left() const { return left_; }
  std::string finish() { return out_ + "</svg>\n"; }

 private:
  void add_legend(const Legend& one, double y) {
    const double x = left_ + kPlotWidth + kGap;
    if (one.marker < 0) {
      out_ += fmt::format("<rect x=\"{}\" y=\"{}\" width=\"12\" height=\"12\" fill=\"{}\"/>\n", px(x + 6),
                          px(y - 10), one.colour);
    } else {
      if (one.line)
        line(x, y - 4, x + 24, y - 4,
             fmt::format("stroke=\"{}\" stroke-width=\"2\"{}", one.colour,
                         one.dashed ? " stroke-dasharray=\"6 4\"" : ""));
      out_ += marker_at(one.marker, x + 12, y - 4, one.colour);
    }
    text(x + 30, y, "start", one.name);
  }

  double left_, width_ = 0, height_ = 0, legend_width_ = 0;
  std::string out_;
};

struct Span {
  double low = std::numeric_limits<double>::infinity();
  double high = -std::numeric_limits<double>::infinity();
  void take(double value, bool log) {
    if (!std::isfinite(value) || (log && value <= 0)) return;
    low = std::min(low, value);
    high = std::max(high, value);
  }
  void settle(bool log) {
    if (low <= high) return;
    low = log ? 1 : 0;
    high = log ? 10 : 1;
  }
};

bool drawable(double value, bool log) {
  return std::isfinite(value) && (!log || value > 0);
}

double left_margin(const Axis& y, const std::string& y_label) {
  double widest = 0;
  for (const double tick : y.ticks()) widest = std::max(widest, text_width(y.text(tick)));
  return widest + (y_label.empty() ? 20 : 42);
}

std::string draw_series(const LineChart& chart, const ChartSeries& series, std::size_t index, const Axis& x,
                        const Axis& y) {
  std::string path, bars, markers;
  bool pen = false;
  const std::string ink = colour(index);
  for (const ChartPoint& point : series.points) {
    if (!drawable(point.x, chart.log_x) || !drawable(point.y, chart.log_y)) {
      pen = false;  // a gap
      continue;
    }
    const double at_x = kPlotWidth * x.place(point.x), at_y = kPlotHeight * (1 - y.place(point.y));
    path += fmt::format("{}{} {}", pen ? "L" : "M", px(at_x), px(at_y));
    pen = true;
    if (series.markers) markers += marker_at(static_cast<int>(index), at_x, at_y, ink);
    if (!point.low || !point.high || !drawable(*point.high, chart.log_y)) continue;
    const double bottom =
        drawable(*point.low, chart.log_y) ? kPlotHeight * (1 - y.place(*point.low)) : kPlotHeight;
    const double top = kPlotHeight * (1 - y.place(*point.high));
    constexpr double kCap = 3;
    bars += fmt::format(
        "<path d=\"M{0} {2}L{1} {2}M{3} {2}L{3} {4}M{0} {4}L{1} {4}\" stroke=\"{5}\" fill=\"none\"/>\n",
        px(at_x - kCap), px(at_x + kCap), px(top), px(at_x), px(bottom), ink);
  }
  std::string out = bars;
  if (series.line && !path.empty())
    out += fmt::format("<path d=\"{}\" stroke=\"{}\" stroke-width=\"2\" fill=\"none\"{}/>\n", path, ink,
                       series.dashed ? " stroke-dasharray=\"6 4\"" : "");
  return out + markers;
}

// Where the series go, for words to keep clear of; gaps part a series.
std::vector<DrawnPath> drawn_paths(const LineChart& chart, const Axis& x, const Axis& y) {
  std::vector<DrawnPath> paths;
  for (const ChartSeries& series : chart.series) {
    paths.push_back({{}, series.line});
    for (const ChartPoint& point : series.points) {
      if (drawable(point.x, chart.log_x) && drawable(point.y, chart.log_y))
        paths.back().points.push_back({kPlotWidth * x.place(point.x), kPlotHeight * (1 - y.place(point.y))});
      else
        paths.push_back({{}, series.line});
    }
  }
  return paths;
}

std::string draw_rules(const LineChart& chart, const Axis& x, const Axis& y, bool texts) {
  constexpr const char* kDotted = "stroke=\"#666666\" stroke-dasharray=\"2 3\"";
  // A white rim keeps the words readable where lines cross them.
  constexpr const char* kWords =
      "fill=\"#444444\" stroke=\"#FFFFFF\" stroke-width=\"3\" paint-order=\"stroke\"";
  std::string out;
  for (const ChartRule& rule : chart.x_rules) {
    if (!drawable(rule.at, chart.log_x)) continue;
    const std::string at = px(kPlotWidth * x.place(rule.at)), foot = px(kPlotHeight - 8);
    if (texts)
      out += fmt::format(
          "<text x=\"{0}\" y=\"{1}\" transform=\"rotate(-90 {0} {1})\" dy=\"-5\" {2}>{3}</text>\n", at, foot,
          kWords, escaped(rule.text));
    else
      out += fmt::format("<line x1=\"{0}\" y1=\"0\" x2=\"{0}\" y2=\"{1}\" {2}/>\n", at, px(kPlotHeight),
                         kDotted);
  }
  for (const ChartRule& rule : chart.y_rules) {
    if (!drawable(rule.at, chart.log_y)) continue;
    const double at = kPlotHeight * (1 - y.place(rule.at));
    if (texts) {
      const PlotPosition place =
          place_label(at, text_width(rule.text), kPlotWidth, kPlotHeight, drawn_paths(chart, x, y));
      out += fmt::format("<text x=\"{}\" y=\"{}\" {}>{}</text>\n", px(place.x), px(place.y), kWords,
                         escaped(rule.text));
    } else {
      out += fmt::format("<line x1=\"0\" y1=\"{0}\" x2=\"{1}\" y2=\"{0}\" {2}/>\n", px(at), px(kPlotWidth),
                         kDotted);
    }
  }
  return out;
}

}  // namespace

std::vector<double> axis_ticks(double low, double high, int wanted) {
  const double rough = (high - low) / std::max(1, wanted);
  if (!(rough > 0) || !std::isfinite(rough)) return {low};
  const double power = std::pow(10, std::floor(std::log10(rough)));
  double step = 10 * power;
  for (const double digit : {1.0, 2.0, 5.0})
    if (digit * power >= rough * (1 - 1e-9)) {
      step = digit * power;
      break;
    }
  std::vector<double> ticks;
  const double first = std::ceil(low / step - 1e-9), last = std::floor(high / step + 1e-9);
  for (double i = first; i <= last; ++i) ticks.push_back(i * step);
  return ticks;
}

std::string svg(const LineChart& chart) {
  Span x_span, y_span;
  std::vector<Legend> legend;
  for (std::size_t i = 0; i < chart.series.size(); ++i) {
    const ChartSeries& series = chart.series[i];
    if (!series.name.empty())
      legend.push_back({series.name, colour(i), static_cast<int>(i), series.dashed, series.line});
    for (const ChartPoint& point : series.points) {
      if (!drawable(point.x, chart.log_x) || !drawable(point.y, chart.log_y)) continue;
      x_span.take(point.x, chart.log_x);
      y_span.take(point.y, chart.log_y);
      if (point.low) y_span.take(*point.low, chart.log_y);
      if (point.high) y_span.take(*point.high, chart.log_y);
    }
  }
  for (const ChartRule& rule : chart.x_rules) x_span.take(rule.at, chart.log_x);
  for (const ChartRule& rule : chart.y_rules) y_span.take(rule.at, chart.log_y);
  x_span.settle(chart.log_x);
  y_span.settle(chart.log_y);
  const Axis x(x_span.low, x_span.high, chart.log_x, chart.x_from, chart.x_to, 8 / kPlotWidth);
  const Axis y(y_span.low, y_span.high, chart.log_y, chart.y_from, chart.y_to, 8 / kPlotHeight);

  constexpr double kBottom = 54;
  Page page(legend, left_margin(y, chart.y_label), kBottom);
  page.titles(chart.title, chart.x_label, chart.y_label);
  page.x_axis(x);
  page.y_axis(y);
  std::string inside = draw_rules(chart, x, y, false);
  for (std::size_t i = 0; i < chart.series.size(); ++i)
    inside += draw_series(chart, chart.series[i], i, x, y);
  inside += draw_rules(chart, x, y, true);  // texts on top
  page.plot(inside);
  return page.finish();
}

std::string svg(const StackedBars& chart) {
  if (chart.values.size() != chart.labels.size())
    throw std::invalid_argument("stacked bars: as many bars as labels are needed");
  std::vector<Legend> legend;
  // The topmost segment first, as in the bars.
  for (std::size_t i = chart.segments.size(); i-- > 0;)
    legend.push_back({chart.segments[i], colour(i), -1, false, false});
  double highest = 0, widest_label = 0;
  for (std::size_t bar = 0; bar < chart.values.size(); ++bar) {
    if (chart.values[bar].size() != chart.segments.size())
      throw std::invalid_argument("stacked bars: a value for each segment is needed");
    double sum = 0;
    for (const double value : chart.values[bar]) sum += std::isfinite(value) ? value : 0;
    highest = std::max(highest, sum);
    widest_label = std::max(widest_label, text_width(chart.labels[bar]));
  }
  const Axis y(0, highest > 0 ? highest : 1, false, 0.0, chart.y_to, 0);
  const double slot = kPlotWidth / static_cast<double>(std::max<std::size_t>(1, chart.labels.size()));
  const bool slanted = widest_label > slot - 4;
  constexpr double kSlope = 0.643, kBottom = 54;  // sine of 40 degrees
  Page page(legend, left_margin(y, chart.y_label), kBottom + (slanted ? kSlope * widest_label : 0));
  page.titles(chart.title, chart.x_label, chart.y_label);
  page.y_axis(y);
  std::string inside;
  for (std::size_t bar = 0; bar < chart.values.size(); ++bar) {
    const double middle = slot * (static_cast<double>(bar) + 0.5), width = std::min(0.7 * slot, 60.0);
    double below = 0;
    for (std::size_t i = 0; i < chart.segments.size(); ++i) {
      const double value = chart.values[bar][i];
      if (!std::isfinite(value) || value <= 0) continue;
      const double bottom = kPlotHeight * (1 - y.place(below)),
                   top = kPlotHeight * (1 - y.place(below + value));
      inside += fmt::format("<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" fill=\"{}\"/>\n",
                            px(middle - width / 2), px(top), px(width), px(bottom - top), colour(i));
      below += value;
    }
    const double x = page.left() + middle, text_y = kTop + kPlotHeight + 16;
    if (slanted)
      page.text(x + 4, text_y, "end", chart.labels[bar],
                fmt::format(" transform=\"rotate(-40 {} {})\"", px(x + 4), px(text_y)));
    else
      page.text(x, text_y + 2, "middle", chart.labels[bar]);
  }
  page.plot(inside);
  return page.finish();
}

}  // namespace kintsugi::sim

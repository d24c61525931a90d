// Charts as SVG: well-formed text, everything drawn once, and places that are worked out by hand. The plot
// area is 520 by 320; a line chart keeps 8 free on every side.
#include "sim/svg_plot.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "sim/svg_label.h"

namespace {

using namespace kintsugi::sim;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

int count(const std::string& text, const std::string& part) {
  int found = 0;
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + part.size()))
    ++found;
  return found;
}

// Every element is closed in order, attributes are quoted, and no bare '<' or '&' stands in a text.
void expect_well_formed(const std::string& text) {
  std::vector<std::string> open;
  for (std::size_t at = 0; at < text.size(); ++at) {
    if (text[at] == '&') {
      const std::string entity = text.substr(at, text.find(';', at) - at + 1);
      EXPECT_THAT((std::vector<std::string>{"&amp;", "&lt;", "&gt;", "&quot;"}), testing::Contains(entity));
    }
    if (text[at] != '<') continue;
    const std::size_t end = text.find('>', at);
    ASSERT_NE(end, std::string::npos);
    const std::string tag = text.substr(at + 1, end - at - 1);
    EXPECT_EQ(tag.find('<'), std::string::npos) << tag;
    EXPECT_EQ(count(tag, "\"") % 2, 0) << tag;
    if (tag[0] == '/') {
      ASSERT_FALSE(open.empty());
      EXPECT_EQ(open.back(), tag.substr(1));
      open.pop_back();
    } else if (tag.back() != '/') {
      open.push_back(tag.substr(0, tag.find(' ')));
    }
    at = end;
  }
  EXPECT_TRUE(open.empty());
}

LineChart two_series() {
  LineChart chart;
  chart.title = "A & B <of \"C\">";
  chart.x_label = "clock (MHz)";
  chart.y_label = "accuracy (%)";
  chart.series = {{"first", {{0, 0, {}, {}}, {10, 1, {}, {}}}}, {"second", {{5, 0.5, 0.25, 0.75}}, true}};
  return chart;
}

TEST(SvgPlot, DrawsEverySeriesOnceAtItsPlace) {
  const std::string text = svg(two_series());
  expect_well_formed(text);
  EXPECT_THAT(text, HasSubstr("A &amp; B &lt;of &quot;C&quot;&gt;"));
  EXPECT_THAT(text, HasSubstr(">clock (MHz)</text>"));
  EXPECT_THAT(text, HasSubstr(">accuracy (%)</text>"));
  EXPECT_EQ(count(text, ">first</text>"), 1);
  EXPECT_EQ(count(text, ">second</text>"), 1);
  // Lower left and upper right corner of what is free, and a line between them.
  EXPECT_THAT(text, HasSubstr("d=\"M8 312L512 8\""));
  EXPECT_EQ(count(text, "<circle"), 3);  // two points, one in the legend
  // The interval of the second series: from 0.25 to 0.75 around its middle, with caps 6 wide.
  EXPECT_THAT(text, HasSubstr("d=\"M257 84L263 84M260 84L260 236M257 236L263 236\""));
  EXPECT_GE(count(text, "stroke-dasharray=\"6 4\""), 1);
}

TEST(SvgPlot, GivesTheSameBytesTwice) {
  EXPECT_EQ(svg(two_series()), svg(two_series()));
}

TEST(SvgPlot, ALogarithmicAxisGoesByDecades) {
  LineChart chart;
  chart.log_x = true;
  chart.series = {{"", {{1e-9, 1, {}, {}}, {1e-5, 2, {}, {}}, {0, 3, {}, {}}, {1e-1, 0, {}, {}}}}};
  const std::string text = svg(chart);
  expect_well_formed(text);
  // 1e-5 is half way; x = 0 has no place and leaves a gap.
  EXPECT_THAT(text, HasSubstr("M8 160L260 8M512 312"));
  for (const char* tick : {">1e-09<", ">1e-05<", ">0.1<"}) EXPECT_THAT(text, HasSubstr(tick));
}

TEST(SvgPlot, LeavesOutWhatIsNoNumber) {
  LineChart chart;
  const double nan = std::numeric_limits<double>::quiet_NaN();
  chart.series = {{"s", {{0, 0, {}, {}}, {1, nan, {}, {}}, {2, 2, {}, {}}}}};
  const std::string text = svg(chart);
  expect_well_formed(text);
  EXPECT_THAT(text, Not(HasSubstr("nan")));
  EXPECT_THAT(text, HasSubstr("d=\"M8 312M512 8\""));
  EXPECT_NO_THROW(expect_well_formed(svg(LineChart{})));
  EXPECT_THAT(svg(LineChart{}), Not(HasSubstr("inf")));
}

TEST(SvgPlot, SeriesWithoutALineHaveNoneInTheLegendEither) {
  LineChart chart;
  chart.series = {{"s", {{0, 0, {}, {}}, {1, 1, {}, {}}}}};
  EXPECT_EQ(count(svg(chart), "stroke-width=\"2\""), 2);  // in the plot and in the legend
  chart.series[0].line = false;
  EXPECT_EQ(count(svg(chart), "stroke-width=\"2\""), 0);
}

TEST(SvgPlot, GivenEndsOfAnAxisHold) {
  LineChart chart = two_series();
  chart.y_from = 0;
  chart.y_to = 2;
  chart.y_rules = {{1, "goal"}};
  const std::string text = svg(chart);
  EXPECT_THAT(text, HasSubstr("d=\"M8 312L512 160\""));
  EXPECT_THAT(text, HasSubstr("<line x1=\"0\" y1=\"160\" x2=\"520\" y2=\"160\""));
  EXPECT_THAT(text, HasSubstr(">goal</text>"));
}

TEST(SvgPlot, WordsBesideALineKeepClearOfWhatIsDrawn) {
  const auto at = [](double line_y, const std::vector<DrawnPath>& paths) {
    const PlotPosition p = place_label(line_y, 60, 520, 320, paths);
    return std::pair(p.x, p.y);
  };
  const std::pair below_left(8.0, 114.0), below_middle(230.0, 114.0), above_left(8.0, 95.0);
  EXPECT_EQ(at(100, {}), below_left);
  EXPECT_EQ(at(315, {}), std::pair(8.0, 310.0));  // no room below
  EXPECT_EQ(at(4, {}), std::pair(8.0, 18.0));     // none above
  EXPECT_EQ(at(100, {{{{20, 110}}, true}}), below_middle);
  EXPECT_EQ(at(100, {{{{0, 110}, {520, 110}}, true}}), above_left);
  EXPECT_EQ(at(100, {{{{0, 110}, {520, 110}}, false}}), below_left);  // two markers, far from the words
  EXPECT_EQ(at(100, {{{{0, 105}, {520, 115}}, true}, {{{0, 90}, {400, 90}}, true}}), std::pair(452.0, 95.0));
}

TEST(SvgPlot, StacksBarsFromTheBottom) {
  StackedBars chart;
  chart.segments = {"small", "large"};
  chart.labels = {"one", "two"};
  chart.values = {{1, 3}, {2, 0}};
  const std::string text = svg(chart);
  expect_well_formed(text);
  // The axis ends at 4; a slot is 260 wide, a bar 60. One: 1 of 4 from the bottom, 3 of 4 on top of it.
  EXPECT_THAT(text, HasSubstr("<rect x=\"100\" y=\"240\" width=\"60\" height=\"80\" fill=\"#0072B2\"/>"));
  EXPECT_THAT(text, HasSubstr("<rect x=\"100\" y=\"0\" width=\"60\" height=\"240\" fill=\"#D55E00\"/>"));
  EXPECT_THAT(text, HasSubstr("<rect x=\"360\" y=\"160\" width=\"60\" height=\"160\" fill=\"#0072B2\"/>"));
  EXPECT_EQ(count(text, "width=\"60\""), 3);  // a segment of nothing is not drawn
  chart.values = {{1, 3}};
  EXPECT_THROW(svg(chart), std::invalid_argument);
  chart.values = {{1, 3}, {1}};
  EXPECT_THROW(svg(chart), std::invalid_argument);
}

TEST(SvgPlot, TicksAreRoundNumbers) {
  EXPECT_THAT(axis_ticks(0, 10, 6), ElementsAre(0, 2, 4, 6, 8, 10));
  EXPECT_THAT(axis_ticks(700, 900, 5), ElementsAre(700, 750, 800, 850, 900));
  EXPECT_THAT(axis_ticks(-0.05, 0.05, 2),
              ElementsAre(testing::DoubleEq(-0.05), testing::DoubleEq(0), testing::DoubleEq(0.05)));
}

}  // namespace

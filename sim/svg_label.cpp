#include "sim/svg_label.h"

#include <algorithm>
#include <cmath>
#include <cstddef>

namespace kintsugi::sim {
namespace {

constexpr double kEdge = 8;                 // from the plot's sides
constexpr double kBelow = 14, kAbove = -5;  // of the baseline, from the line
constexpr double kAscent = 10, kDescent = 3, kRoom = 4;

struct Box {
  double left, right, top, bottom;
  bool holds(const PlotPosition& p) const {
    return p.x >= left && p.x <= right && p.y >= top && p.y <= bottom;
  }
};

// How much of the paths lies in the box: markers, and lines by the pixel.
double covered(const Box& box, const std::vector<DrawnPath>& paths) {
  constexpr double kMarkerWeight = 8;
  double sum = 0;
  for (const DrawnPath& path : paths)
    for (std::size_t i = 0; i < path.points.size(); ++i) {
      const PlotPosition& to = path.points[i];
      sum += box.holds(to) ? kMarkerWeight : 0;
      if (i == 0 || !path.line) continue;
      const PlotPosition& from = path.points[i - 1];
      const int pixels = static_cast<int>(std::hypot(to.x - from.x, to.y - from.y));
      for (int p = 0; p < pixels; ++p) {
        const double t = static_cast<double>(p) / pixels;
        sum += box.holds({from.x + t * (to.x - from.x), from.y + t * (to.y - from.y)}) ? 1 : 0;
      }
    }
  return sum;
}

}  // namespace

PlotPosition place_label(double line_y, double text_width, double plot_width, double plot_height,
                         const std::vector<DrawnPath>& paths) {
  PlotPosition best{kEdge, line_y + kBelow};
  double least = -1;
  for (const double side : {kBelow, kAbove})
    for (const double x :
         {kEdge, (plot_width - text_width) / 2, std::max(kEdge, plot_width - text_width - kEdge)}) {
      const double y = line_y + side;
      if (y - kAscent < 0 || y + kDescent > plot_height) continue;
      const double here =
          covered({x - kRoom, x + text_width + kRoom, y - kAscent - kRoom / 2, y + kDescent}, paths);
      if (least >= 0 && here >= least) continue;
      least = here;
      best = {x, y};
    }
  return best;
}

}  // namespace kintsugi::sim

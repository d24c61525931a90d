// Where the words of a horizontal line go in a chart: beside the line, where they cover least of what is
// drawn.
#pragma once

#include <vector>

namespace kintsugi::sim {

struct PlotPosition {
  double x = 0, y = 0;  // from the plot's upper left corner
};

// Points with markers, joined by a line or not.
struct DrawnPath {
  std::vector<PlotPosition> points;
  bool line = true;
};

// The left end of the baseline of a text of this width beside the line at `line_y`: below or above it, at its
// left end, in its middle or at its right end, and inside a plot of the size given. Of places that cover
// equally little the first, in this order.
PlotPosition place_label(double line_y, double text_width, double plot_width, double plot_height,
                         const std::vector<DrawnPath>& paths);

}  // namespace kintsugi::sim

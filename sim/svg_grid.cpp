// svg_grid() of svg_plot.h.
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <stdexcept>
#include <string_view>

#include "sim/svg_plot.h"

namespace kintsugi::sim {
namespace {

// Of the document itself: the first such attribute.
double attribute(const std::string& picture, std::string_view name) {
  const std::string key = fmt::format(" {}=\"", name);
  const std::size_t at = picture.find(key);
  if (!picture.starts_with("<svg ") || at == std::string::npos)
    throw std::invalid_argument("svg_grid: not a picture of svg_plot.h");
  return std::strtod(picture.c_str() + at + key.size(), nullptr);
}

}  // namespace

std::string svg_grid(const std::vector<std::string>& pictures, int columns) {
  constexpr double kShare = 0.75;  // of a picture's own size
  double width = 0, height = 0;
  for (const std::string& picture : pictures) {
    width = std::max(width, attribute(picture, "width"));
    height = std::max(height, attribute(picture, "height"));
  }
  const auto count = static_cast<int>(pictures.size());
  const int across = std::min(columns, std::max(1, count)), down = (count + columns - 1) / columns;
  std::string text = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{}\" height=\"{}\" viewBox=\"0 0 {} {}\">\n",
      kShare * width * across, kShare * height * down, width * across, height * down);
  for (int i = 0; i < count; ++i)
    text += fmt::format("<svg x=\"{}\" y=\"{}\" ", width * (i % columns), height * (i / columns)) +
            pictures[static_cast<std::size_t>(i)].substr(5);
  return text + "</svg>\n";
}

}  // namespace kintsugi::sim

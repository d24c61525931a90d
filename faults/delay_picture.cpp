// The picture of `timing show`.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstddef>

#include "faults/delay_map.h"

namespace kintsugi::faults {
namespace {

constexpr std::array<const char*, 5> kShades = {" ", "░", "▒", "▓", "█"};

std::string rule(int width, const char* left, const char* right) {
  std::string out = left;
  for (int i = 0; i < width; ++i) out += "─";
  return out + right + "\n";
}

}  // namespace

std::string delay_picture(const std::vector<double>& factors, int rows, int cols, int width) {
  const int step = (cols + std::max(width, 1) - 1) / std::max(width, 1);
  const int high = 2 * step;  // a terminal's characters are about twice as high as wide
  const int across = (cols + step - 1) / step, down = (rows + high - 1) / high;
  std::vector<double> means;
  for (int r = 0; r < rows; r += high) {
    for (int c = 0; c < cols; c += step) {
      double sum = 0;
      int count = 0;
      for (int y = r; y < std::min(r + high, rows); ++y)
        for (int x = c; x < std::min(c + step, cols); ++x, ++count)
          sum += factors[static_cast<std::size_t>(y) * cols + x];
      means.push_back(sum / count);
    }
  }
  const auto [least, most] = std::ranges::minmax(means);
  const double shade_width = (most - least) / static_cast<double>(kShades.size());
  const auto shade = [&, low = least](double mean) {
    if (shade_width <= 0) return std::size_t{0};
    return std::min(static_cast<std::size_t>((mean - low) / shade_width), kShades.size() - 1);
  };
  std::string out = rule(across, "┌", "┐");
  for (int r = 0; r < down; ++r) {
    out += "│";
    for (int c = 0; c < across; ++c) out += kShades[shade(means[static_cast<std::size_t>(r) * across + c])];
    out += r % 4 == 0 ? fmt::format("│ {}\n", r * high) : "│\n";
  }
  out += rule(across, "└", "┘");
  out += fmt::format("each character is the mean delay factor of {}x{} PEs (rows x columns):", high, step);
  if (shade_width <= 0) return out + fmt::format(" all {:.3f}\n", least);
  for (std::size_t s = 0; s < kShades.size(); ++s)
    out += fmt::format("  '{}' {}{:.3f}", kShades[s], s == 0 ? "from " : "",
                       least + static_cast<double>(s) * shade_width);
  return out + fmt::format(" to {:.3f}\n", most);
}

}  // namespace kintsugi::faults

// The picture of `fault-map show`.
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "faults/report.h"

namespace kintsugi::faults {
namespace {

constexpr std::array<const char*, 5> kShades = {" ", "░", "▒", "▓", "█"};

std::vector<std::uint8_t> named_pes(const FaultMap& map) {
  std::vector<std::uint8_t> named(static_cast<std::size_t>(map.rows) * map.cols, 0);
  for (const Fault& fault : map.faults) named[static_cast<std::size_t>(fault.row) * map.cols + fault.col] = 1;
  return named;
}

std::string rule(int width, const char* left, const char* right) {
  std::string out = left;
  for (int i = 0; i < width; ++i) out += "─";
  return out + right + "\n";
}

// Every PE on its own: two rows of the array share a character's upper and lower half.
std::string exact_picture(const FaultMap& map) {
  const auto named = named_pes(map);
  const auto bad = [&](int r, int c) {
    return r < map.rows && named[static_cast<std::size_t>(r) * map.cols + c] != 0;
  };
  std::string out = rule(map.cols, "┌", "┐");
  for (int r = 0; r < map.rows; r += 2) {
    out += "│";
    for (int c = 0; c < map.cols; ++c) {
      const bool upper = bad(r, c), lower = bad(r + 1, c);
      out += upper && lower ? "█" : upper ? "▀" : lower ? "▄" : " ";
    }
    out += r % 8 == 0 ? fmt::format("│ {}\n", r) : "│\n";
  }
  out += rule(map.cols, "└", "┘");
  return out + "each character is two PEs, one above the other: █ both faulty, ▀ upper, ▄ lower\n";
}

}  // namespace

std::string density_picture(const FaultMap& map, int width) {
  width = std::max(width, 1);
  if (map.cols <= width) return exact_picture(map);
  const int step = (map.cols + width - 1) / width;
  const int high = 2 * step;  // a terminal's characters are about twice as high as wide
  const int across = (map.cols + step - 1) / step, down = (map.rows + high - 1) / high;
  const auto named = named_pes(map);
  std::vector<int> counts(static_cast<std::size_t>(across) * down, 0);
  for (int r = 0; r < map.rows; ++r)
    for (int c = 0; c < map.cols; ++c)
      counts[static_cast<std::size_t>(r / high) * across + c / step] +=
          named[static_cast<std::size_t>(r) * map.cols + c];
  const int most = *std::max_element(counts.begin(), counts.end());

  // Four shades share 1 … most as evenly as whole numbers allow; none is empty unless `most` is below 4.
  const int shades = std::min(most, 4);
  const auto level = [&](int count) { return 1 + (count - 1) * shades / most; };
  const auto shade = [&](int count) { return count == 0 ? 0 : level(count) + 4 - shades; };
  std::string out = rule(across, "┌", "┐");
  for (int r = 0; r < down; ++r) {
    out += "│";
    for (int c = 0; c < across; ++c) out += kShades[shade(counts[static_cast<std::size_t>(r) * across + c])];
    out += r % 4 == 0 ? fmt::format("│ {}\n", r * high) : "│\n";
  }
  out += rule(across, "└", "┘");
  out += fmt::format("each character is {}x{} PEs (rows x columns); faulty PEs in it: blank 0", high, step);
  for (int s = 1; s <= shades; ++s) {
    int low = 0, top = 0;
    for (int count = 1; count <= most; ++count) {
      if (level(count) != s) continue;
      if (low == 0) low = count;
      top = count;
    }
    out += fmt::format("  {} {}", kShades[s + 4 - shades],
                       low == top ? std::to_string(low) : fmt::format("{}-{}", low, top));
  }
  return out + '\n';
}

}  // namespace kintsugi::faults

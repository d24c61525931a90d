#include "training/reduce/statistics.h"

#include <algorithm>
#include <cmath>

namespace kintsugi::training::reduce {

Interval wilson(std::int64_t hits, std::int64_t trials) {
  if (trials <= 0) return {0, 0, 1};
  const double n = static_cast<double>(trials);
  const double p = static_cast<double>(hits) / n;
  const double z2 = kZ95 * kZ95;
  const double centre = (p + z2 / (2 * n)) / (1 + z2 / n);
  const double half = kZ95 * std::sqrt(p * (1 - p) / n + z2 / (4 * n * n)) / (1 + z2 / n);
  // At the ends the exact bounds are 0 and 1; rounding must not leave them.
  return {p, hits == 0 ? 0 : std::max(0.0, centre - half), hits == trials ? 1 : std::min(1.0, centre + half)};
}

Interval paired_difference(std::int64_t gained, std::int64_t lost, std::int64_t images) {
  if (images <= 0) return {0, -1, 1};
  const double n = static_cast<double>(images) + 2;
  const double up = static_cast<double>(gained + 1) / n;
  const double down = static_cast<double>(lost + 1) / n;
  const double centre = up - down;
  const double half = kZ95 * std::sqrt((up + down - centre * centre) / n);
  return {static_cast<double>(gained - lost) / static_cast<double>(images), std::max(-1.0, centre - half),
          std::min(1.0, centre + half)};
}

std::vector<double> isotonic(std::span<const double> values, std::span<const double> weights) {
  struct Block {
    double mean, weight;
    std::size_t length;
  };
  std::vector<Block> blocks;
  for (std::size_t i = 0; i < values.size(); ++i) {
    blocks.push_back({values[i], weights[i], 1});
    while (blocks.size() > 1 && blocks[blocks.size() - 2].mean > blocks.back().mean) {
      const Block last = blocks.back();
      blocks.pop_back();
      Block& before = blocks.back();
      const double weight = before.weight + last.weight;
      before = {(before.mean * before.weight + last.mean * last.weight) / weight, weight,
                before.length + last.length};
    }
  }
  std::vector<double> result;
  for (const Block& block : blocks) result.insert(result.end(), block.length, block.mean);
  return result;
}

}  // namespace kintsugi::training::reduce

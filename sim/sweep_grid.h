// The grid of a sweep: which values its settings take, and the list of points that follows.
//
// A value that is a list makes its key an axis: `chip.array.rows=[64, 128]`. Keys joined by commas take their
// values together: `chip.array.rows,chip.array.cols=[64, 128]` is one axis of square arrays. A list that is
// itself a value stands in a list of its own: `network.input.mean=[[0.5]]`.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "configs/yaml_reader.h"

namespace kintsugi::sim {

struct SweepAxis {
  std::vector<std::string> keys;    // all take the same value; each is a column of sweep.csv
  std::vector<std::string> values;  // YAML, one line each
};

struct SweepGrid {
  configs::Overrides fixed;  // of every point
  std::vector<SweepAxis> axes;

  std::int64_t points() const;
  // The value number of every axis at a point. The last axis varies fastest.
  std::vector<std::size_t> at(std::int64_t point) const;
};

inline constexpr std::int64_t kMostSweepPoints = 100'000;

// `sets` as given to --set. Throws common::InputError for what is no override, an axis without values, a key
// that is set twice, and more points than kMostSweepPoints.
SweepGrid read_sweep_grid(const std::vector<std::string>& sets);

// "0.1" or "[0.1, 0.2]"; `option` is for messages. Throws common::InputError unless all lie in low … high.
std::vector<double> read_values(const std::string& option, const std::string& text, double low, double high,
                                bool& is_list);

}  // namespace kintsugi::sim

// The exact assignment of channels to slots, as a least-cost flow.
#pragma once

#include <Eigen/Dense>
#include <cstdint>
#include <vector>

namespace kintsugi::training::repair {

// Channels × slots, not negative.
using AssignmentCost = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

// By channel: its slot; distinct, and of least cost in sum. At least as many slots as channels
// (std::logic_error).
std::vector<std::int32_t> assign(const AssignmentCost& cost);

}  // namespace kintsugi::training::repair

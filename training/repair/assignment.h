// The exact assignment of channels to slots.
#pragma once

#include <Eigen/Dense>
#include <cstdint>
#include <vector>

namespace kintsugi::training::repair {

// Channels × slots, finite.
using AssignmentCost = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

// By channel: its slot; distinct, and of least cost in sum (to rounding). Where nothing costs anything,
// channel n has slot n. At least as many slots as channels (std::logic_error). Shortest augmenting paths
// after a reduction of rows, as Jonker and Volgenant, Computing 38 (1987), without the steps that need as
// many channels as slots. Deterministic.
std::vector<std::int32_t> assign(const AssignmentCost& cost);

}  // namespace kintsugi::training::repair

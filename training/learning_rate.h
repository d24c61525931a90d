// The learning rate as a function of the step: constant, stepwise, half a cosine or a straight line down.
#pragma once

#include <cstdint>

#include "configs/campaign.h"

namespace kintsugi::training {

// The rate that step `step` (from 0) of a run of `total_steps` uses. Steps beyond the run use its last rate:
// `step` then has passed every milestone, `cosine` and `linear` stay at 0. A milestone f is passed from step
// ceil(f · total_steps) on.
double learning_rate(const configs::SgdConfig& sgd, std::int64_t step, std::int64_t total_steps);

}  // namespace kintsugi::training

// plan.yaml: the plan as a file that people read, diff and may edit (planned_steps and plan) before
// retraining. Writing is deterministic; reading is strict.
#pragma once

#include <filesystem>
#include <string>

#include "training/reduce/plan.h"

namespace kintsugi::training::reduce {

std::string plan_yaml(const Plan& plan);

// Throws common::InputError with every problem: missing or unknown keys, a verdict that does not fit its
// steps, duplicate chip ids.
Plan read_plan(const std::filesystem::path& file);

}  // namespace kintsugi::training::reduce

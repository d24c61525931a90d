// The section `groups` of plan.yaml; for plan_file.cpp.
#pragma once

#include <string>

#include "configs/yaml_reader.h"
#include "training/reduce/plan.h"

namespace kintsugi::training::reduce {

// Empty of a plan that was made without grouping.
std::string groups_yaml(const Plan& plan);
// Into a plan whose chips were read. Chips and groups must name each other, and a group must be of chips that
// are retrained; what is wrong is noted at its place in `root`.
void read_groups(configs::Section& root, Plan& plan);

}  // namespace kintsugi::training::reduce

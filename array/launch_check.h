// What a launch may ask for, wherever it comes from: the C++ interface, or registers.
#pragma once

#include <string>

#include "array/accelerator.h"

namespace kintsugi::array {

// Sizes that fit together, and byte counts that stay below 2^40.
bool makes_layer(const LayerShape& shape);
// Every window holds at least one position of the layer's map.
bool makes_pool(const MaxPool& window, const LayerShape& shape);
// Why a pass of the activation unit cannot be done, whatever its addresses; empty if it can.
std::string vector_problem(const VectorLaunch& launch);

}  // namespace kintsugi::array

// The record that adds two int8 maps with scales of their own (array/activation_unit.h), from their scales.
#pragma once

#include <string>

#include "array/activation_unit.h"

namespace kintsugi::workloads {

// The record for q = round((a · scale_a + b · scale_b) / scale_out), ties upwards, the larger multiplier as
// large as 31 bits allow. Throws common::InputError naming `where` if the shift would leave its range.
array::ResidualAdd choose_residual_add(double scale_a, double scale_b, double scale_out,
                                       const std::string& where);

}  // namespace kintsugi::workloads

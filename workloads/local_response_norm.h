// Local response normalisation of floats (Krizhevsky et al., NIPS 2012, §3.3): the float network's. The
// chip's, of int8 maps, is in array/activation_unit.h.
#pragma once

#include <cstdint>

#include "array/activation_unit.h"

namespace kintsugi::workloads {

// One image, C, H, W.
void local_response_norm(const array::LocalResponseNorm& norm, std::int64_t channels, std::int64_t pixels,
                         const float* in, float* out);

}  // namespace kintsugi::workloads

// Local response normalisation across channels (Krizhevsky et al., NIPS 2012, §3.3), on the host.
#pragma once

#include <cstdint>
#include <span>

#include "workloads/network.h"

namespace kintsugi::workloads {

// in, out: rows × channels int8 (N, H, W, C). In double precision, with S the integer sum of x[j]² over the
// window of channels: out = clamp(round-half-even(x · in_scale · (k + alpha/size · in_scale² · S)^−beta /
// out_scale), −127, 127).
void local_response_norm_int8(const LocalResponseNormStage& lrn, std::int64_t channels, double in_scale,
                              double out_scale, std::span<const std::int8_t> in, std::span<std::int8_t> out);

// One image, C, H, W.
void local_response_norm(const LocalResponseNormStage& lrn, std::int64_t channels, std::int64_t pixels,
                         const float* in, float* out);

}  // namespace kintsugi::workloads

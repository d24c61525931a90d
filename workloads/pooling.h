// What the host does of a global average of int8 results, in the device's order N, H, W, C.
#pragma once

#include <cstdint>
#include <span>

#include "workloads/network.h"

namespace kintsugi::workloads {

// Sum over the pixels of each channel: batch × channels.
void sum_pixels_int8(const Stage& stage, std::int64_t batch, std::span<const std::int8_t> in,
                     std::span<std::int32_t> out);

}  // namespace kintsugi::workloads

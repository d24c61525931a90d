// Pooling of int8 results on the host, in the device's order N, H, W, C.
#pragma once

#include <cstdint>
#include <span>

#include "workloads/network.h"

namespace kintsugi::workloads {

// in: batch × gemm_out (H, W, C); out: batch × stage.out (H, W, C). The stage must have a max-pool.
void max_pool_int8(const Stage& stage, std::int64_t batch, std::span<const std::int8_t> in,
                   std::span<std::int8_t> out);

// Sum over the pixels of each channel: batch × channels.
void sum_pixels_int8(const Stage& stage, std::int64_t batch, std::span<const std::int8_t> in,
                     std::span<std::int32_t> out);

}  // namespace kintsugi::workloads

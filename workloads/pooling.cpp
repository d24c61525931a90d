#include "workloads/pooling.h"

#include <algorithm>

namespace kintsugi::workloads {

void max_pool_int8(const Stage& stage, std::int64_t batch, std::span<const std::int8_t> in,
                   std::span<std::int8_t> out) {
  const std::int64_t H = stage.gemm_out.height, W = stage.gemm_out.width, C = stage.gemm_out.channels;
  const auto [kernel, stride, padding] = *stage.max_pool;
  std::int8_t* to = out.data();
  for (std::int64_t b = 0; b < batch; ++b)
    for (std::int64_t oy = 0; oy < stage.out.height; ++oy)
      for (std::int64_t ox = 0; ox < stage.out.width; ++ox, to += C) {
        std::fill_n(to, C, std::int8_t{-128});
        const std::int64_t top = oy * stride - padding, left = ox * stride - padding;
        for (std::int64_t y = std::max<std::int64_t>(top, 0); y < std::min(top + kernel, H); ++y)
          for (std::int64_t x = std::max<std::int64_t>(left, 0); x < std::min(left + kernel, W); ++x) {
            const std::int8_t* from = in.data() + ((b * H + y) * W + x) * C;
            for (std::int64_t c = 0; c < C; ++c) to[c] = std::max(to[c], from[c]);
          }
      }
}

void sum_pixels_int8(const Stage& stage, std::int64_t batch, std::span<const std::int8_t> in,
                     std::span<std::int32_t> out) {
  const std::int64_t pixels = stage.gemm_out.height * stage.gemm_out.width, C = stage.gemm_out.channels;
  std::ranges::fill(out, 0);
  for (std::int64_t b = 0; b < batch; ++b)
    for (std::int64_t p = 0; p < pixels; ++p)
      for (std::int64_t c = 0; c < C; ++c) out[b * C + c] += in[(b * pixels + p) * C + c];
}

}  // namespace kintsugi::workloads

#include "workloads/pooling.h"

#include <algorithm>

namespace kintsugi::workloads {

void sum_pixels_int8(const Stage& stage, std::int64_t batch, std::span<const std::int8_t> in,
                     std::span<std::int32_t> out) {
  const std::int64_t pixels = stage.gemm_out.height * stage.gemm_out.width, C = stage.gemm_out.channels;
  std::ranges::fill(out, 0);
  for (std::int64_t b = 0; b < batch; ++b)
    for (std::int64_t p = 0; p < pixels; ++p)
      for (std::int64_t c = 0; c < C; ++c) out[b * C + c] += in[(b * pixels + p) * C + c];
}

}  // namespace kintsugi::workloads

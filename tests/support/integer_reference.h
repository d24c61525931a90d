// A deployed network computed as one would on paper: direct convolution in PyTorch's layout, integers of 128
// bits for requantisation, one image at a time. Shares no code with the engines, the lowering or the host's
// pooling.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "workloads/deployed.h"

namespace kintsugi::test {

inline int floor_requantized(std::int64_t value, const array::Requantization& r, bool relu) {
  const __int128 sum = static_cast<__int128>(value) * r.multiplier + r.offset;
  const __int128 divisor = static_cast<__int128>(1) << r.shift;
  __int128 q = sum / divisor;
  if (sum % divisor != 0 && sum < 0) --q;
  return static_cast<int>(std::clamp<__int128>(q, relu ? 0 : -127, 127));
}

// Logits of one image given as normalised numbers, C, H, W.
inline std::vector<float> reference_logits(const workloads::Network& network,
                                           const workloads::DeployedNetwork& deployed,
                                           const std::vector<float>& image) {
  std::vector<int> x;
  for (const float v : image)
    x.push_back(
        static_cast<int>(std::clamp(std::nearbyint(v / deployed.stages[0].input_scale), -127.f, 127.f)));
  std::vector<float> logits;
  for (std::size_t s = 0; s < network.stages.size(); ++s) {
    const workloads::Stage& stage = network.stages[s];
    const workloads::DeployedStage& d = deployed.stages[s];
    const std::int64_t inputs = stage.in.channels / stage.groups,
                       per_group = stage.gemm_out.channels / stage.groups;
    const std::int64_t H = stage.gemm_out.height, W = stage.gemm_out.width, O = stage.gemm_out.channels;
    std::vector<std::int64_t> acc(static_cast<std::size_t>(O * H * W), 0);
    for (std::int64_t o = 0; o < O; ++o)
      for (std::int64_t y = 0; y < H; ++y)
        for (std::int64_t xx = 0; xx < W; ++xx)
          for (std::int64_t i = 0; i < inputs; ++i)
            for (std::int64_t ky = 0; ky < stage.kernel; ++ky)
              for (std::int64_t kx = 0; kx < stage.kernel; ++kx) {
                const std::int64_t iy = y * stage.stride + ky - stage.padding;
                const std::int64_t ix = xx * stage.stride + kx - stage.padding;
                if (iy < 0 || ix < 0 || iy >= stage.in.height || ix >= stage.in.width) continue;
                const std::int64_t channel = o / per_group * inputs + i;
                acc[(o * H + y) * W + xx] +=
                    std::int64_t{d.weight.data[((o * inputs + i) * stage.kernel + ky) * stage.kernel + kx]} *
                    x[(channel * stage.in.height + iy) * stage.in.width + ix];
              }
    const bool last = s + 1 == network.stages.size();
    if (last && !stage.global_avg_pool) {
      for (std::size_t c = 0; c < acc.size(); ++c)
        logits.push_back(static_cast<float>(acc[c]) * d.output_scale[c] + d.output_bias[c]);
      return logits;
    }
    std::vector<int> q(acc.size());
    for (std::int64_t i = 0; i < O * H * W; ++i)
      q[i] = floor_requantized(acc[i], d.requantization[i / (H * W)], stage.relu);
    x.clear();
    for (std::int64_t o = 0; o < O; ++o) {
      const int* plane = q.data() + o * H * W;
      if (stage.global_avg_pool) {
        std::int64_t sum = 0;
        for (std::int64_t i = 0; i < H * W; ++i) sum += plane[i];
        if (last)
          logits.push_back(static_cast<float>(sum) * d.output_scale[0]);
        else
          x.push_back(floor_requantized(sum, *d.average, false));
      } else if (stage.max_pool) {
        for (std::int64_t y = 0; y < stage.out.height; ++y)
          for (std::int64_t xx = 0; xx < stage.out.width; ++xx) {
            int best = -1000;
            for (std::int64_t ky = 0; ky < stage.max_pool->kernel; ++ky)
              for (std::int64_t kx = 0; kx < stage.max_pool->kernel; ++kx)
                best = std::max(
                    best, plane[(y * stage.max_pool->stride + ky) * W + xx * stage.max_pool->stride + kx]);
            x.push_back(best);
          }
      } else {
        x.insert(x.end(), plane, plane + H * W);
      }
    }
  }
  return logits;
}

}  // namespace kintsugi::test

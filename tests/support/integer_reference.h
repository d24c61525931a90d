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

// One accumulator: output channel o at (y, x), from the stage's input x (C, H, W).
inline std::int64_t reference_accumulator(const workloads::Stage& stage, const workloads::DeployedStage& d,
                                          const std::vector<int>& x, std::int64_t o, std::int64_t y,
                                          std::int64_t xx) {
  const std::int64_t inputs = stage.in.channels / stage.groups,
                     per_group = stage.gemm_out.channels / stage.groups;
  std::int64_t acc = 0;
  for (std::int64_t i = 0; i < inputs; ++i)
    for (std::int64_t ky = 0; ky < stage.kernel; ++ky)
      for (std::int64_t kx = 0; kx < stage.kernel; ++kx) {
        const std::int64_t iy = y * stage.stride + ky - stage.padding;
        const std::int64_t ix = xx * stage.stride + kx - stage.padding;
        if (iy < 0 || ix < 0 || iy >= stage.in.height || ix >= stage.in.width) continue;
        const std::int64_t channel = o / per_group * inputs + i;
        acc += std::int64_t{d.weight.data[((o * inputs + i) * stage.kernel + ky) * stage.kernel + kx]} *
               x[(channel * stage.in.height + iy) * stage.in.width + ix];
      }
  return acc;
}

// What one stage makes of its inputs (one image, C, H, W): before pooling, int8, or accumulators of a last
// stage that is not requantised.
inline std::vector<std::int64_t> reference_outputs(const workloads::Stage& stage,
                                                   const workloads::DeployedStage& d,
                                                   const std::vector<int>& x,
                                                   const std::vector<int>& second) {
  const std::int64_t H = stage.gemm_out.height, W = stage.gemm_out.width, O = stage.gemm_out.channels;
  std::vector<std::int64_t> out(static_cast<std::size_t>(O * H * W), 0);
  if (stage.kind == workloads::StageKind::add) {
    for (std::size_t i = 0; i < out.size(); ++i) {
      const __int128 sum = static_cast<__int128>(x[i]) * d.add->multiplier_a +
                           static_cast<__int128>(second[i]) * d.add->multiplier_b + d.add->offset;
      const __int128 divisor = static_cast<__int128>(1) << d.add->shift;
      out[i] = static_cast<std::int64_t>(
          std::clamp<__int128>(sum / divisor - (sum % divisor < 0 ? 1 : 0), stage.relu ? 0 : -127, 127));
    }
    return out;
  }
  if (stage.kind == workloads::StageKind::local_response_norm) {
    for (std::int64_t c = 0; c < O; ++c)
      for (std::int64_t p = 0; p < H * W; ++p) {
        long double squares = 0;
        for (std::int64_t j = 0; j < O; ++j) {
          const std::int64_t apart = j - c + stage.lrn.size / 2;
          if (apart < 0 || apart >= stage.lrn.size) continue;
          const long double v = static_cast<long double>(x[j * H * W + p]) * d.input_scale;
          squares += v * v;
        }
        const long double norm =
            std::pow(stage.lrn.k + stage.lrn.alpha / static_cast<long double>(stage.lrn.size) * squares,
                     static_cast<long double>(stage.lrn.beta));
        const long double y = x[c * H * W + p] * static_cast<long double>(d.input_scale) / norm;
        out[c * H * W + p] = static_cast<std::int64_t>(
            std::clamp(std::nearbyint(y / static_cast<long double>(*d.result_scale)), -127.0L, 127.0L));
      }
    return out;
  }
  for (std::int64_t o = 0; o < O; ++o)
    for (std::int64_t y = 0; y < H; ++y)
      for (std::int64_t xx = 0; xx < W; ++xx) {
        const std::int64_t acc = reference_accumulator(stage, d, x, o, y, xx);
        out[(o * H + y) * W + xx] =
            d.requantization.empty() ? acc : floor_requantized(acc, d.requantization[o], stage.relu);
      }
  return out;
}

// What the stage's readers see: pooled (C, H, W), which is also the order of a flat vector.
inline std::vector<int> reference_result(const workloads::Stage& stage, const workloads::DeployedStage& d,
                                         const std::vector<std::int64_t>& outputs) {
  const std::int64_t H = stage.gemm_out.height, W = stage.gemm_out.width;
  std::vector<int> result;
  for (std::int64_t o = 0; o < stage.gemm_out.channels; ++o) {
    const std::int64_t* plane = outputs.data() + o * H * W;
    if (stage.global_avg_pool) {
      std::int64_t sum = 0;
      for (std::int64_t i = 0; i < H * W; ++i) sum += plane[i];
      // A last stage's sums are turned into logits by the caller.
      result.push_back(d.average ? floor_requantized(sum, *d.average, false) : static_cast<int>(sum));
    } else if (stage.max_pool) {
      for (std::int64_t y = 0; y < stage.out.height; ++y)
        for (std::int64_t x = 0; x < stage.out.width; ++x) {
          std::int64_t best = -1000;
          for (std::int64_t ky = 0; ky < stage.max_pool->kernel; ++ky)
            for (std::int64_t kx = 0; kx < stage.max_pool->kernel; ++kx) {
              const std::int64_t iy = y * stage.max_pool->stride + ky - stage.max_pool->padding;
              const std::int64_t ix = x * stage.max_pool->stride + kx - stage.max_pool->padding;
              if (iy >= 0 && ix >= 0 && iy < H && ix < W) best = std::max(best, plane[iy * W + ix]);
            }
          result.push_back(static_cast<int>(best));
        }
    } else {
      result.insert(result.end(), plane, plane + H * W);
    }
  }
  return result;
}

inline std::vector<int> reference_codes(const std::vector<float>& image, float scale) {
  std::vector<int> codes;
  for (const float v : image)
    codes.push_back(static_cast<int>(std::clamp(std::nearbyint(v / scale), -127.f, 127.f)));
  return codes;
}

// Logits of one image given as normalised numbers, C, H, W.
inline std::vector<float> reference_logits(const workloads::Network& network,
                                           const workloads::DeployedNetwork& deployed,
                                           const std::vector<float>& image) {
  const std::vector<int> codes = reference_codes(image, deployed.stages[0].input_scale);
  std::vector<std::vector<int>> results;
  for (std::size_t s = 0; s < network.stages.size(); ++s) {
    const workloads::Stage& stage = network.stages[s];
    const auto read = [&](int source) {
      return source == workloads::kImage ? codes : results.at(static_cast<std::size_t>(source));
    };
    const auto outputs =
        reference_outputs(stage, deployed.stages[s], read(stage.inputs.front()), read(stage.inputs.back()));
    if (s + 1 < network.stages.size() || stage.global_avg_pool) {
      results.push_back(reference_result(stage, deployed.stages[s], outputs));
      continue;
    }
    std::vector<float> logits;
    const workloads::DeployedStage& d = deployed.stages[s];
    for (std::size_t c = 0; c < outputs.size(); ++c)
      logits.push_back(static_cast<float>(outputs[c]) * d.output_scale[c] + d.output_bias[c]);
    return logits;
  }
  std::vector<float> logits;
  for (const int sum : results.back())
    logits.push_back(static_cast<float>(sum) * deployed.stages.back().output_scale[0]);
  return logits;
}

}  // namespace kintsugi::test

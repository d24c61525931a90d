// A network's training loss in double precision, written layer by layer as plainly as possible (N, C, H, W
// loops, no sharing of code with training/): the witness for every gradient, by central differences.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "common/random.h"
#include "training/shards.h"
#include "workloads/network.h"
#include "workloads/tensor.h"

namespace kintsugi::testing {

using DoubleParameters = std::map<std::string, std::vector<double>>;

inline DoubleParameters to_double(const workloads::Parameters& parameters) {
  DoubleParameters result;
  for (const auto& [name, t] : parameters) result[name].assign(t.data.begin(), t.data.end());
  return result;
}

struct ReferenceDropout {
  std::uint64_t seed;
  std::string stream;
  std::int64_t step;
};

// Mean softmax cross-entropy. image: batch × C × H × W. `means`, `variances` (unbiased) receive batch-norm's
// statistics by layer name if not null.
inline double reference_loss(const workloads::Network& network, const DoubleParameters& p,
                             const std::vector<double>& image, const std::vector<std::int32_t>& labels,
                             const ReferenceDropout& dropout, DoubleParameters* means = nullptr,
                             DoubleParameters* variances = nullptr) {
  const auto batch = static_cast<std::int64_t>(labels.size());
  std::vector<std::vector<double>> results;
  for (const workloads::Stage& s : network.stages) {
    const auto value_of = [&](int source) {
      return source == workloads::kImage ? image : results.at(source);
    };
    const std::vector<double> x = value_of(s.inputs.front());
    const std::int64_t oc = s.gemm_out.channels, oh = s.gemm_out.height, ow = s.gemm_out.width;
    const std::int64_t ic = s.in.channels, ih = s.in.height, iw = s.in.width;
    const std::int64_t icg = ic / s.groups, ocg = oc / s.groups;
    std::vector<double> z(batch * oc * oh * ow);
    if (s.kind == workloads::StageKind::add) {
      const std::vector<double> second = value_of(s.inputs.at(1));
      for (std::size_t i = 0; i < z.size(); ++i) z[i] = x.at(i) + second.at(i);
    }
    if (s.kind == workloads::StageKind::local_response_norm) {
      for (std::int64_t b = 0; b < batch; ++b)
        for (std::int64_t o = 0; o < oc; ++o)
          for (std::int64_t q = 0; q < oh * ow; ++q) {
            double squares = 0;
            for (std::int64_t j = 0; j < oc; ++j) {
              const std::int64_t place = j - o + s.lrn.size / 2;
              if (place >= 0 && place < s.lrn.size) squares += std::pow(x[(b * oc + j) * oh * ow + q], 2);
            }
            const double norm = s.lrn.k + s.lrn.alpha * squares / static_cast<double>(s.lrn.size);
            z[(b * oc + o) * oh * ow + q] = x[(b * oc + o) * oh * ow + q] / std::pow(norm, s.lrn.beta);
          }
    }
    for (std::int64_t b = 0; s.on_chip() && b < batch; ++b)
      for (std::int64_t o = 0; o < oc; ++o)
        for (std::int64_t y = 0; y < oh; ++y)
          for (std::int64_t c = 0; c < ow; ++c) {
            double sum = s.bias ? p.at(s.name + ".bias")[o] : 0;
            for (std::int64_t i = 0; i < icg; ++i)
              for (std::int64_t ky = 0; ky < s.kernel; ++ky)
                for (std::int64_t kx = 0; kx < s.kernel; ++kx) {
                  const std::int64_t sy = y * s.stride + ky - s.padding, sx = c * s.stride + kx - s.padding;
                  if (sy < 0 || sy >= ih || sx < 0 || sx >= iw) continue;
                  const std::int64_t channel = (o / ocg) * icg + i;
                  sum += p.at(s.name + ".weight")[((o * icg + i) * s.kernel + ky) * s.kernel + kx] *
                         x[((b * ic + channel) * ih + sy) * iw + sx];
                }
            z[((b * oc + o) * oh + y) * ow + c] = sum;
          }
    const std::int64_t pixels = oh * ow;
    if (s.batch_norm) {
      const std::string& n = s.batch_norm->name;
      for (std::int64_t o = 0; o < oc; ++o) {
        double mean = 0, variance = 0;
        const auto count = static_cast<double>(batch * pixels);
        for (std::int64_t b = 0; b < batch; ++b)
          for (std::int64_t q = 0; q < pixels; ++q) mean += z[(b * oc + o) * pixels + q] / count;
        for (std::int64_t b = 0; b < batch; ++b)
          for (std::int64_t q = 0; q < pixels; ++q)
            variance += std::pow(z[(b * oc + o) * pixels + q] - mean, 2) / count;
        for (std::int64_t b = 0; b < batch; ++b)
          for (std::int64_t q = 0; q < pixels; ++q) {
            double& v = z[(b * oc + o) * pixels + q];
            v = p.at(n + ".weight")[o] * (v - mean) / std::sqrt(variance + s.batch_norm->eps) +
                p.at(n + ".bias")[o];
          }
        if (means) (*means)[n].push_back(mean);
        if (variances) (*variances)[n].push_back(variance * count / (count - 1));
      }
    }
    if (s.relu)
      for (double& v : z) v = std::max(v, 0.0);
    std::int64_t h = oh, w = ow;
    if (s.max_pool || s.global_avg_pool) {
      h = s.out.height, w = s.out.width;
      std::vector<double> pooled(batch * oc * h * w);
      for (std::int64_t bo = 0; bo < batch * oc; ++bo)
        for (std::int64_t y = 0; y < h; ++y)
          for (std::int64_t c = 0; c < w; ++c) {
            double best = -1e300, sum = 0;
            const std::int64_t k = s.max_pool ? s.max_pool->kernel : 0,
                               t = s.max_pool ? s.max_pool->stride : 0;
            for (std::int64_t ky = 0; ky < k; ++ky)
              for (std::int64_t kx = 0; kx < k; ++kx) {
                const std::int64_t sy = y * t + ky - s.max_pool->padding;
                const std::int64_t sx = c * t + kx - s.max_pool->padding;
                if (sy < 0 || sx < 0 || sy >= oh || sx >= ow) continue;
                best = std::max(best, z[(bo * oh + sy) * ow + sx]);
              }
            if (!s.max_pool)
              for (std::int64_t q = 0; q < pixels; ++q) sum += z[bo * pixels + q];
            pooled[(bo * h + y) * w + c] = s.max_pool ? best : sum / static_cast<double>(pixels);
          }
      z = std::move(pooled);
    }
    if (s.dropout > 0) {
      // Drawn shard by shard, image by image, in the order N, H, W, C.
      const auto shards = training::make_shards(batch);
      for (std::size_t k = 0; k < shards.size(); ++k) {
        common::RandomStream random(dropout.seed, dropout.stream + "/dropout/" + s.name,
                                    static_cast<std::uint64_t>(dropout.step * training::kShards) + k);
        for (std::int64_t b = shards[k].begin; b < shards[k].begin + shards[k].count; ++b)
          for (std::int64_t q = 0; q < h * w; ++q)
            for (std::int64_t o = 0; o < oc; ++o)
              z[(b * oc + o) * h * w + q] *= random.uniform() < s.dropout ? 0 : 1 / (1 - s.dropout);
      }
    }
    results.push_back(std::move(z));
  }
  const std::vector<double>& x = results.back();
  double loss = 0;
  for (std::int64_t b = 0; b < batch; ++b) {
    double sum = 0;
    for (std::int64_t c = 0; c < network.classes; ++c) sum += std::exp(x[b * network.classes + c]);
    loss += std::log(sum) - x[b * network.classes + labels[b]];
  }
  return loss / static_cast<double>(batch);
}

}  // namespace kintsugi::testing

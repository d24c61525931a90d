// The simulated chip's part of a forward pass: quantise, launch a stage's GEMM, read its accumulators back.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "training/batch_norm.h"
#include "training/trainer.h"

namespace kintsugi::training {

class ChipForward {
 public:
  // Lays out device memory for `batch` images. Throws common::InputError if the device is too small or the
  // scales are not the network's. `pool` must outlive this.
  ChipForward(const workloads::Network& network, std::int64_t batch, const ChipInTheLoop& chip,
              common::ThreadPool& pool);

  float input_scale(std::size_t stage) const { return chip_.scales.input[stage]; }
  float before_average_scale(std::size_t stage) const { return chip_.scales.before_average[stage]; }
  // Of what a stage (not the last) hands to its readers, and of its int8 outputs before any pooling.
  float result_scale(std::size_t stage) const { return result_scales_[stage]; }
  float output_scale(std::size_t stage) const {
    return network_->stages[stage].global_avg_pool ? before_average_scale(stage) : result_scale(stage);
  }

  // q = clamp(round(values / scale)). May be called from several threads at once.
  void quantize(std::span<const float> values, float scale, std::span<std::int8_t> q) const;

  // The weights that a stage's chip was given: weight · scale of its output channel, in PyTorch's layout.
  struct SeenWeight {
    workloads::Tensor<std::int8_t> quantized;
    std::vector<float> scales;
  };

  // One stage on the chip, or on what stands in for the host, over the whole batch. weight: PyTorch layout,
  // masked. x: its input in the device's order, worth x · x_scale. z receives the accumulators as numbers,
  // batch × gemm_out (N, H, W, C), without bias, and `moments`, if not null, those of z's channels.
  void run(std::size_t stage, const workloads::Tensor<float>& weight, std::span<const std::int8_t> x,
           float x_scale, std::span<float> z, ColumnMoments* moments, SeenWeight& seen);

  void dequantize(const SeenWeight& seen, std::span<float> weight) const;

 private:
  const workloads::Network* network_;
  std::int64_t batch_;
  common::ThreadPool* pool_;
  ChipInTheLoop chip_;
  bool on_host(std::size_t stage) const { return !chip_.on_host.empty() && chip_.on_host[stage] != 0; }
  void check_devices(std::uint64_t needed_bytes) const;

  array::DeviceAddress activations_ = 0, weights_ = 0, output_ = 0;
  std::vector<float> result_scales_;
  std::vector<std::int32_t> accumulators_;  // a part of a result on its way
  std::vector<float> output_scales_;
  std::vector<std::int8_t> matrix_;
  std::vector<ColumnMoments> parts_;
};

}  // namespace kintsugi::training

// The simulated chip's part of a forward pass: quantise, launch a stage's GEMM, read its accumulators back.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "training/trainer.h"

namespace kintsugi::training {

class ChipForward {
 public:
  // Lays out device memory for `batch` images. Throws common::InputError if the device is too small or the
  // scales are not the network's.
  ChipForward(const workloads::Network& network, std::int64_t batch, const ChipInTheLoop& chip);

  float input_scale(std::size_t stage) const { return chip_.scales.input[stage]; }
  float before_average_scale(std::size_t stage) const { return chip_.scales.before_average[stage]; }
  // Of what a stage (not the last) hands to its readers, and of its int8 outputs before any pooling.
  float result_scale(std::size_t stage) const { return result_scales_[stage]; }
  float output_scale(std::size_t stage) const {
    return network_->stages[stage].global_avg_pool ? before_average_scale(stage) : result_scale(stage);
  }

  // q = clamp(round(values / scale)).
  void quantize(std::span<const float> values, float scale, std::span<std::int8_t> q);

  // One stage on the chip over the whole batch. weight: PyTorch layout, masked. x: its input in the device's
  // order, worth x · x_scale. z receives the accumulators as numbers, batch × gemm_out (N, H, W, C), without
  // bias; seen_weight the weights the chip was given, de-quantised, in PyTorch layout.
  void run(std::size_t stage, const workloads::Tensor<float>& weight, std::span<const std::int8_t> x,
           float x_scale, std::span<float> z, std::span<float> seen_weight);

 private:
  const workloads::Network* network_;
  std::int64_t batch_;
  ChipInTheLoop chip_;
  array::DeviceAddress activations_ = 0, weights_ = 0, output_ = 0;
  std::vector<float> result_scales_;
  std::vector<std::int32_t> accumulators_;
  std::vector<float> weight_scales_, output_scales_;
  workloads::Tensor<std::int8_t> quantized_;
};

}  // namespace kintsugi::training

// The GEMM of one stage (linear layer or convolution) and its two gradients, in float, through oneDNN.
//
// Activations are N, H, W, C; weights and their gradients are in PyTorch's layouts. Everything is created
// once for the shards of a batch; calls for different shards may run at the same time.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "training/shards.h"
#include "workloads/network.h"

namespace kintsugi::training {

class StageGemm {
 public:
  // Create on a thread that runs OpenMP with one thread (any thread of a ThreadPool).
  StageGemm(const workloads::Stage& stage, std::span<const Shard> shards);
  ~StageGemm();
  StageGemm(StageGemm&&) noexcept;

  // The weights that forward and backward_data use from now on (weight_count() values); they must stay.
  void set_weight(const float* weight);

  // z = W x: x: count × in, z: count × gemm_out. No bias.
  void forward(std::size_t shard, const float* x, float* z);
  // dx = Wᵀ dz.
  void backward_data(std::size_t shard, const float* dz, float* dx);
  // dw = Σ_images dz xᵀ, overwritten.
  void backward_weight(std::size_t shard, const float* x, const float* dz, float* dw);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace kintsugi::training

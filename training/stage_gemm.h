// The GEMM of one stage (linear layer or convolution) and its two gradients, in float, over a whole batch.
//
// Activations are N, H, W, C; weights and their gradients are in PyTorch's layouts. Buffers and primitives
// are created once. Results are the same bytes for any number of threads in the pool: what is summed by more
// than one thread is summed in a fixed order.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "configs/campaign.h"
#include "training/batch_norm.h"
#include "training/bf16_product.h"
#include "workloads/network.h"

namespace kintsugi::common {
class ThreadPool;
}

namespace kintsugi::training {

// Working memory that the stages of a network share: one stage uses it at a time.
class GemmWorkspace {
 public:
  std::vector<float> x, z, weight, gradient;
  std::vector<Bf16> rounded_x, rounded_z, rounded_weight;

  // Of one task of a loop over threads; kept between calls.
  struct Scratch {
    std::vector<float> sums;
    std::vector<std::byte> library;
  };
  std::unique_ptr<Scratch> take_scratch();
  void give_back(std::unique_ptr<Scratch> scratch);

 private:
  std::mutex mutex_;
  std::vector<std::unique_ptr<Scratch>> idle_;
};

class StageGemm {
 public:
  virtual ~StageGemm() = default;

  // Weights (weight_count() values) stand in PyTorch's layout.

  // z = W x: x: batch × in, z: batch × gemm_out. No bias.
  virtual void forward(const float* weight, const float* x, float* z) = 0;
  // dw = Σ_images dz xᵀ, overwritten; and, unless `dx` is null, dx = Wᵀ dz. With `norm` the gradient is taken
  // through a batch-norm first, `dz` then being that by the batch-norm's results. What `dz` holds afterwards
  // is not defined.
  virtual void backward(const float* weight, const float* x, float* dz, const BatchNormGradient* norm,
                        float* dx, float* dw) = 0;
};

// Create on a thread that runs OpenMP with one thread (any thread of a ThreadPool). `pool` and `workspace`
// must outlive the result; several stages may be given the same workspace. With `backward` bf16, both
// operands of every product on the way back are rounded to bfloat16, where the stage has channels that make
// it worth it.
std::unique_ptr<StageGemm> make_stage_gemm(const workloads::Stage& stage, std::int64_t batch,
                                           common::ThreadPool& pool, GemmWorkspace& workspace,
                                           configs::Backward backward, bool goes_forward = true);

}  // namespace kintsugi::training

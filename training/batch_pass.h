// One mini-batch forward and backward: loss and gradients of every parameter.
//
// The network is a graph: a result may have several readers, whose gradients are added, the last reader's
// first. Residual adds and local response normalisations are the host's. With the chip in the loop their
// int8 results are bit for bit those of the deployed network, from the operands that the chip and the host
// left; their gradients are those of the float sum and normalisation.
//
// The forward pass is float, or runs its GEMMs on the simulated chip; everything behind a GEMM (bias,
// batch-norm over the batch, ReLU, pooling, requantisation) works on the values it was given, and so does the
// backward pass: weight gradients use the inputs the chip saw, data gradients the weights it was given.
// Rounding is passed straight through; a value that quantisation clamped passes no gradient. Buffers and
// primitives are made once.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "common/random.h"
#include "common/thread_pool.h"
#include "training/activation.h"
#include "training/batch_norm.h"
#include "training/chip_forward.h"
#include "training/shards.h"
#include "training/stage_gemm.h"
#include "workloads/network.h"
#include "workloads/tensor.h"

namespace kintsugi::training {

// Where a step takes its random numbers from: streams (seed, stream + "/dropout/" + layer, step and shard),
// and
// "/noise/" for noise on the results of GEMMs, in units of their root mean square over the batch.
struct StepRandom {
  std::uint64_t seed = 0;
  std::string stream;
  std::int64_t step = 0;
  double output_noise = 0;  // in a float forward pass only

  common::RandomStream of(const std::string& purpose, const std::string& layer, std::int64_t shard) const {
    return {seed, stream + "/" + purpose + "/" + layer, static_cast<std::uint64_t>(step * kShards + shard)};
  }
};

class BatchPass {
 public:
  // `network` and `pool` must outlive the pass. Throws common::InputError if batch-norm would see a single
  // value per channel, or a pooling window is too large. With `freeze_batch_norm` batch-norm is an affine map
  // by the running statistics in the parameters, which are then not updated.
  BatchPass(const workloads::Network& network, std::int64_t batch, common::ThreadPool& pool,
            const std::optional<ChipInTheLoop>& chip, configs::Backward backward = configs::Backward::f32,
            bool freeze_batch_norm = false);

  const std::vector<Shard>& shards() const { return shards_; }
  // batch × in.count() of the first stage, to be filled before run(): N, H, W, C if that is a convolution,
  // otherwise flat in the order C, H, W.
  std::span<float> input() { return x_.front(); }

  // The first half of run(), for what it leaves behind: results, and running statistics of batch-norm.
  void forward(workloads::Parameters& parameters, const StepRandom& step_random);
  // Returns the batch's mean loss; updates running statistics of batch-norm in `parameters`.
  double run(workloads::Parameters& parameters, std::span<const std::int32_t> labels,
             const StepRandom& step_random);

  // Of the last run. One tensor per trainable parameter, in its shape.
  const workloads::Parameters& gradients() const { return gradients_; }
  std::span<const float> logits() const { return x_.back(); }
  // Batch × pooled map (N, H, W, C): where stage s's gradients go; see training/activation.h.
  std::span<const std::uint16_t> routes(std::size_t s) const { return stages_[s].route; }
  // What stage s's readers were given: batch × out.count() (N, H, W, C; N, C, H, W if flattened), and with
  // the chip in the loop the int8 values behind it, of all but the last stage.
  std::span<const float> results(std::size_t s) const { return x_[s + 1]; }
  std::span<const std::int8_t> quantized_results(std::size_t s) const { return q_[s + 1]; }

 private:
  // What a stage reads: x_[value], and q_[value] on the chip.
  struct Operand {
    std::size_t value = 0;
    bool first = false;  // to hand a gradient back: it overwrites, later ones add
  };
  struct StageState {
    const workloads::Stage* stage = nullptr;
    std::vector<Operand> operands;
    std::unique_ptr<StageGemm> gemm;                                             // of a stage on the chip
    std::string weight, bias, norm_weight, norm_bias, norm_mean, norm_variance;  // parameter names
    Window window;
    bool flatten = false;  // N, H, W, C becomes N, C, H, W on the way to its readers
    bool last = false;
    std::vector<float> z;          // results of the GEMM, the sum or the normalisation
    std::vector<float> activated;  // before a global average
    std::vector<float> y;          // results in N, H, W, C, where readers want another order
    std::vector<std::uint16_t> route;
    std::vector<std::uint8_t> gate;  // results that pass a gradient (not clamped, not dropped)
    ChipForward::SeenWeight seen_weight;
    std::vector<float> alpha, beta, mean, inverse_deviation;
    std::vector<float> gradient_mean, gradient_slope;
    ColumnMoments moments;
    std::vector<double> sums, products;  // shards × channels
  };

  void add_stage(const workloads::Stage& stage, bool last);
  void plan_gradients();
  void forward_gemm(std::size_t s, const workloads::Parameters& parameters, const StepRandom& step_random);
  void add_noise(std::size_t s, const StepRandom& step_random);
  void forward_host(std::size_t s);
  void prepare_affine(std::size_t s, workloads::Parameters& parameters);
  void finish_stage(std::size_t s, const StepRandom& step_random);
  void finish_images(std::size_t s, const Shard& images, common::RandomStream* random);
  void round_before_average(std::size_t s, const Shard& images);
  void round_results(std::size_t s, const Shard& images, const float* y);
  void deliver(std::size_t s, const Shard& images, const float* y, common::RandomStream* random);
  // body(shard, images) for blocks of a few images that stay in the cache while several passes are made over
  // them.
  template <class Body>
  void for_each_block(std::size_t s, Body body) {
    constexpr std::int64_t kValues = 32768;
    const std::int64_t images = std::max<std::int64_t>(1, kValues / stages_[s].stage->gemm_out.count());
    pool_->parallel_for(static_cast<std::int64_t>(shards_.size()), [&](std::int64_t i) {
      const std::int64_t end = shards_[i].begin + shards_[i].count;
      for (std::int64_t at = shards_[i].begin; at < end; at += images)
        body(i, Shard{at, std::min(images, end - at)});
    });
  }
  void backward_gemm(std::size_t s, const workloads::Parameters& parameters);
  void backward_host(std::size_t s);
  void collect(std::size_t s, const Shard& images);
  void hand_back(std::size_t s, std::size_t shard);
  std::vector<float>& gradient_of(std::size_t value) { return gradient_slots_[slot_of_[value]]; }
  std::int64_t rows(const StageState& state, const Shard& images) const;
  float* z_at(std::vector<float>& buffer, const StageState& state, const Shard& images) const;

  const workloads::Network* network_;
  std::int64_t batch_;
  configs::Backward backward_;
  bool freeze_batch_norm_;
  common::ThreadPool* pool_;
  std::optional<ChipForward> chip_;
  std::vector<Shard> shards_;
  std::vector<StageState> stages_;
  std::vector<std::vector<float>> x_;        // the image, then every stage's results; the last are the logits
  std::vector<std::vector<std::int8_t>> q_;  // the same as the chip reads them; worth q · q_scale
  std::vector<float> q_scale_;
  std::vector<std::int8_t> rounded_;   // results as int8, before reordering
  std::vector<std::int8_t> computed_;  // int8 results before a global average, or a host stage's max-pool
  // Gradients by x_: a buffer is free again when the stage whose results they belong to has used them.
  std::vector<std::vector<float>> gradient_slots_;
  std::vector<std::size_t> slot_of_;
  std::vector<float> gradient_x_, gradient_y_, gradient_z_;
  std::vector<ColumnMoments> moments_;  // by shard
  std::vector<float> chip_weight_;      // of the stage at hand, as the chip was given it
  std::unique_ptr<GemmWorkspace> workspace_ = std::make_unique<GemmWorkspace>();  // stages point to it
  workloads::Parameters gradients_;
};

}  // namespace kintsugi::training

#include "training/stage_gemm.h"

#include <algorithm>

#include "training/direct_convolution.h"
#include "training/tap_gemm.h"

namespace kintsugi::training {

std::unique_ptr<GemmWorkspace::Scratch> GemmWorkspace::take_scratch() {
  const std::lock_guard lock(mutex_);
  if (idle_.empty()) return std::make_unique<Scratch>();
  std::unique_ptr<Scratch> scratch = std::move(idle_.back());
  idle_.pop_back();
  return scratch;
}

void GemmWorkspace::give_back(std::unique_ptr<Scratch> scratch) {
  const std::lock_guard lock(mutex_);
  idle_.push_back(std::move(scratch));
}

namespace {

// One kind on the way there, another on the way back.
class SplitGemm final : public StageGemm {
 public:
  SplitGemm(std::unique_ptr<StageGemm> forward, std::unique_ptr<StageGemm> backward)
      : forward_(std::move(forward)), backward_(std::move(backward)) {}

  void forward(const float* weight, const float* x, float* z) override { forward_->forward(weight, x, z); }
  void backward(const float* weight, const float* x, float* dz, const BatchNormGradient* norm, float* dx,
                float* dw) override {
    backward_->backward(weight, x, dz, norm, dx, dw);
  }

 private:
  std::unique_ptr<StageGemm> forward_, backward_;
};

}  // namespace

std::unique_ptr<StageGemm> make_stage_gemm(const workloads::Stage& stage, std::int64_t batch,
                                           common::ThreadPool& pool, GemmWorkspace& workspace,
                                           configs::Backward backward, bool goes_forward) {
  // Measured on 3×3 kernels (docs/performance.md): products per tap win on small maps, where the direct
  // primitives spend their time on padding and weights, and on the way back from 128 channels on; in bfloat16
  // from 32.
  const std::int64_t channels = std::min(stage.in.channels, stage.gemm_out.channels);
  const bool small = stage.gemm_out.height * stage.gemm_out.width <= 16 && channels >= 32;
  const bool rounds = backward == configs::Backward::bf16 && stage.groups == 1 && channels >= 32;
  const bool taps_forward = !stage.convolution || (stage.groups == 1 && small);
  const bool taps_back = taps_forward || rounds || (stage.groups == 1 && channels >= 128);
  const auto make = [&](bool taps) {
    return taps ? make_tap_gemm(stage, batch, pool, workspace, rounds ? backward : configs::Backward::f32)
                : make_direct_convolution(stage, batch, pool);
  };
  if (taps_forward == taps_back || !goes_forward) return make(taps_back);
  return std::make_unique<SplitGemm>(make(taps_forward), make(taps_back));
}

}  // namespace kintsugi::training

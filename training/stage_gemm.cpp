#include "training/stage_gemm.h"

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

std::unique_ptr<StageGemm> make_stage_gemm(const workloads::Stage& stage, std::int64_t batch,
                                           common::ThreadPool& pool, GemmWorkspace& workspace,
                                           configs::Backward backward) {
  // A matrix product for each tap of the kernel needs channels to work on.
  constexpr std::int64_t kChannels = 16;
  const bool wide =
      stage.groups == 1 && stage.in.channels >= kChannels && stage.gemm_out.channels >= kChannels;
  if (!stage.convolution || wide) {
    return make_tap_gemm(stage, batch, pool, workspace, wide ? backward : configs::Backward::f32);
  }
  return make_direct_convolution(stage, batch, pool);
}

}  // namespace kintsugi::training

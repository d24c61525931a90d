// A convolution of any kind through oneDNN's direct convolution primitives. The batch is cut into shards
// (training/shards.h); weight gradients are summed in shard order.
#pragma once

#include <memory>

#include "training/stage_gemm.h"

namespace kintsugi::training {

std::unique_ptr<StageGemm> make_direct_convolution(const workloads::Stage& stage, std::int64_t batch,
                                                   common::ThreadPool& pool);

}  // namespace kintsugi::training

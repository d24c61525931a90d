// A convolution as one matrix product for each tap (ky, kx) of its kernel, and a linear layer as a
// convolution of one tap on a 1×1 map.
//
// With the pixels of a batch ordered H, W, N, C, what a tap multiplies is whole blocks of rows: for every
// line of the map, the pixels that the tap meets inside the other map. Padding costs nothing, which on small
// maps is more than half of the work (a 3×3 kernel on 2×2 maps: 16 of 36 products are real). Weight gradients
// sum over the whole batch inside the matrix product, one tap per task, so there are no partial gradients to
// add.
#pragma once

#include <memory>

#include "training/stage_gemm.h"

namespace kintsugi::training {

// `stage` must have one group.
std::unique_ptr<StageGemm> make_tap_gemm(const workloads::Stage& stage, std::int64_t batch,
                                         common::ThreadPool& pool, GemmWorkspace& workspace,
                                         configs::Backward backward);

}  // namespace kintsugi::training

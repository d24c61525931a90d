// The order of a stage's results on their way to the next stage: kept, or (for a linear layer, as in
// PyTorch's flatten) from N, H, W, C to N, C, H, W. The forward and the backward pass walk it with the same
// loop.
#pragma once

#include <cstdint>

#include "workloads/network.h"

namespace kintsugi::training {

// body(j, to) for the results begin … end of whole images: j counts N, H, W, C; `to` is its place in the next
// stage's input.
template <class Body>
void for_each_result(const workloads::Stage& stage, bool flatten, std::int64_t begin, std::int64_t end,
                     Body body) {
  if (!flatten) {
    for (std::int64_t j = begin; j < end; ++j) body(j, j);
    return;
  }
  const std::int64_t pixels = stage.out.height * stage.out.width;
  const std::int64_t channels = stage.out.channels;
  for (std::int64_t image = begin; image < end; image += pixels * channels) {
    for (std::int64_t p = 0; p < pixels; ++p) {
      for (std::int64_t c = 0; c < channels; ++c) body(image + p * channels + c, image + c * pixels + p);
    }
  }
}

}  // namespace kintsugi::training

// Gathers the activation rows of a GEMM from a convolution's input: row m holds, for one group, the K values
// that stream position m presents to the rows of the array, zero where the window leaves the image.
#pragma once

#include <cstdint>

#include "array/layer_shape.h"

namespace kintsugi::array {

// Rows [begin, begin + count) of `group`, K values each, to out (count×K). activations: N, H, W, C.
void im2col(const LayerShape& shape, const std::int8_t* activations, std::int64_t group, std::int64_t begin,
            std::int64_t count, std::int8_t* out);

}  // namespace kintsugi::array

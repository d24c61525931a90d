#include "array/accelerator.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <stdexcept>
#include <string>

namespace kintsugi::array {

namespace {

void need(bool fits, const char* call) {
  if (!fits) throw std::invalid_argument(std::string(call) + ": sizes of the arguments do not fit");
}

// rows × cols -> cols × rows, in squares that stay in the cache.
void transpose(const std::int8_t* in, std::int64_t rows, std::int64_t cols, std::int8_t* out) {
  constexpr std::int64_t kSquare = 32;
  for (std::int64_t r0 = 0; r0 < rows; r0 += kSquare)
    for (std::int64_t c0 = 0; c0 < cols; c0 += kSquare) {
      const std::int64_t r1 = std::min(rows, r0 + kSquare), c1 = std::min(cols, c0 + kSquare);
      for (std::int64_t c = c0; c < c1; ++c)
        for (std::int64_t r = r0; r < r1; ++r) out[c * rows + r] = in[r * cols + c];
    }
}

void transpose_images(std::span<const std::int8_t> in, std::int64_t batch, std::int64_t rows,
                      std::int64_t cols, std::span<std::int8_t> out) {
  if (rows == 1 || cols == 1) {
    if (!in.empty()) std::memcpy(out.data(), in.data(), in.size());
    return;
  }
  for (std::int64_t b = 0; b < batch; ++b)
    transpose(in.data() + b * rows * cols, rows, cols, out.data() + b * rows * cols);
}

}  // namespace

void Accelerator::float_to_int(std::span<const float> values, float scale, std::span<std::int8_t> out) {
  need(values.size() == out.size(), "float_to_int");
  if (!(scale > 0)) throw std::invalid_argument("float_to_int: the scale must be positive");
  for (std::size_t i = 0; i < values.size(); ++i) {
    const float q = std::nearbyint(values[i] / scale);
    // Written so that NaN becomes −127 instead of something undefined.
    out[i] = static_cast<std::int8_t>(static_cast<std::int32_t>(q >= 127.f    ? 127.f
                                                                : q >= -127.f ? q
                                                                              : -127.f));
  }
}

void Accelerator::int_to_float(std::span<const std::int32_t> accumulators, std::span<const float> scales,
                               std::span<float> out) {
  need(accumulators.size() == out.size() && (scales.empty() ? out.empty() : out.size() % scales.size() == 0),
       "int_to_float");
  for (std::size_t row = 0; row < out.size(); row += scales.size())
    for (std::size_t c = 0; c < scales.size(); ++c)
      out[row + c] = static_cast<float>(accumulators[row + c]) * scales[c];
}

void Accelerator::layout_reorder(std::span<const std::int8_t> nchw, std::int64_t batch, std::int64_t channels,
                                 std::int64_t pixels, std::span<std::int8_t> nhwc) {
  need(nchw.size() == nhwc.size() && static_cast<std::int64_t>(nchw.size()) == batch * channels * pixels,
       "layout_reorder");
  transpose_images(nchw, batch, channels, pixels, nhwc);
}

void Accelerator::layout_recover(std::span<const std::int8_t> nhwc, std::int64_t batch, std::int64_t channels,
                                 std::int64_t pixels, std::span<std::int8_t> nchw) {
  need(nchw.size() == nhwc.size() && static_cast<std::int64_t>(nchw.size()) == batch * channels * pixels,
       "layout_recover");
  transpose_images(nhwc, batch, pixels, channels, nchw);
}

void Accelerator::load_timing(std::shared_ptr<const faults::ChipTiming> timing) {
  if (timing && !timing->harmless())
    throw std::logic_error("this accelerator does not simulate timing errors");
}

}  // namespace kintsugi::array

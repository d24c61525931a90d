#include "array/im2col.h"

#include <algorithm>
#include <cstring>

namespace kintsugi::array {

void im2col(const LayerShape& shape, const std::int8_t* activations, std::int64_t group, std::int64_t begin,
            std::int64_t count, std::int8_t* out) {
  const std::int64_t channels = shape.in_c / shape.groups;
  const std::int64_t out_w = shape.out_w(), out_h = shape.out_h();
  const std::int64_t line = shape.kernel_w * channels;  // one ky of a window: (kx, ci)
  const std::int8_t* base = activations + group * channels;
  for (std::int64_t m = begin; m < begin + count; ++m) {
    const std::int64_t ox = m % out_w, oy = m / out_w % out_h, b = m / (out_w * out_h);
    const std::int64_t x0 = ox * shape.stride - shape.padding;
    // Columns kx of the window that lie inside the image.
    const std::int64_t first = std::clamp<std::int64_t>(-x0, 0, shape.kernel_w);
    const std::int64_t last = std::clamp<std::int64_t>(shape.in_w - x0, first, shape.kernel_w);
    for (std::int64_t ky = 0; ky < shape.kernel_h; ++ky, out += line) {
      const std::int64_t y = oy * shape.stride - shape.padding + ky;
      if (y < 0 || y >= shape.in_h || first == last) {
        std::memset(out, 0, static_cast<std::size_t>(line));
        continue;
      }
      if (first > 0) std::memset(out, 0, static_cast<std::size_t>(first * channels));
      if (last < shape.kernel_w)
        std::memset(out + last * channels, 0, static_cast<std::size_t>((shape.kernel_w - last) * channels));
      const std::int8_t* from = base + ((b * shape.in_h + y) * shape.in_w + x0 + first) * shape.in_c;
      if (shape.groups == 1) {
        // Neighbouring pixels are neighbours in memory, so a window's line is one copy.
        std::memcpy(out + first * channels, from, static_cast<std::size_t>((last - first) * channels));
      } else {
        for (std::int64_t kx = first; kx < last; ++kx, from += shape.in_c)
          std::memcpy(out + kx * channels, from, static_cast<std::size_t>(channels));
      }
    }
  }
}

}  // namespace kintsugi::array

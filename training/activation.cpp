#include "training/activation.h"

#include <algorithm>
#include <limits>
#include <vector>

namespace kintsugi::training {
namespace {

// The window's positions begin … end − 1 that lie on a map of `size` lines, for output line `at`.
struct Positions {
  std::int64_t begin, end;
};

Positions inside(const Window& w, std::int64_t at, std::int64_t size) {
  const std::int64_t first = at * w.stride - w.padding;
  return {std::max<std::int64_t>(0, -first), std::min(w.kernel, size - first)};
}

void activate(std::int64_t rows, std::int64_t channels, const float* z, const float* alpha, const float* beta,
              bool relu, float* out, std::uint16_t* route) {
  const float floor = relu ? 0.0F : -std::numeric_limits<float>::infinity();
  for (std::int64_t r = 0; r < rows; ++r) {
    const float* const zr = z + r * channels;
    float* const o = out + r * channels;
    std::uint16_t* const q = route + r * channels;
    for (std::int64_t c = 0; c < channels; ++c) {
      const float v = alpha[c] * zr[c] + beta[c];
      q[c] = v > floor ? std::uint16_t{0} : kBlocked;
      o[c] = v > floor ? v : floor;
    }
  }
}

}  // namespace

void activate_and_pool(const Window& w, std::int64_t images, const float* z, const float* alpha,
                       const float* beta, bool relu, float* out, std::uint16_t* route) {
  if (w.kernel == 1 && w.stride == 1) {
    activate(images * w.in_h * w.in_w, w.channels, z, alpha, beta, relu, out, route);
    return;
  }
  const float floor = relu ? 0.0F : -std::numeric_limits<float>::infinity();
  std::vector<std::int32_t> best_at(w.channels);
  std::int32_t* const at = best_at.data();
  for (std::int64_t i = 0; i < images; ++i) {
    for (std::int64_t y = 0; y < w.out_h; ++y) {
      for (std::int64_t x = 0; x < w.out_w; ++x) {
        const std::int64_t o = ((i * w.out_h + y) * w.out_w + x) * w.channels;
        float* const best = out + o;
        // Starting from the ReLU's floor with "blocked": only a value above it is ever taken.
        std::fill(best, best + w.channels, floor);
        std::fill(best_at.begin(), best_at.end(), std::int32_t{kBlocked});
        const Positions rows = inside(w, y, w.in_h), columns = inside(w, x, w.in_w);
        for (std::int64_t ky = rows.begin; ky < rows.end; ++ky) {
          for (std::int64_t kx = columns.begin; kx < columns.end; ++kx) {
            const std::int64_t in_y = y * w.stride - w.padding + ky, in_x = x * w.stride - w.padding + kx;
            const std::int64_t row = (i * w.in_h + in_y) * w.in_w + in_x;
            const float* const zr = z + row * w.channels;
            const auto position = static_cast<std::int32_t>(ky * w.kernel + kx);
            for (std::int64_t c = 0; c < w.channels; ++c) {
              const float v = alpha[c] * zr[c] + beta[c];
              at[c] = v > best[c] ? position : at[c];
              best[c] = v > best[c] ? v : best[c];
            }
          }
        }
        for (std::int64_t c = 0; c < w.channels; ++c) route[o + c] = static_cast<std::uint16_t>(at[c]);
      }
    }
  }
}

void route_gradient(const Window& w, std::int64_t images, const float* dout, const std::uint16_t* route,
                    float* dz) {
  if (w.kernel == 1 && w.stride == 1) {
    const std::int64_t count = images * w.in_h * w.in_w * w.channels;
    for (std::int64_t j = 0; j < count; ++j) dz[j] = route[j] == kBlocked ? 0.0F : dout[j];
    return;
  }
  std::fill(dz, dz + images * w.in_h * w.in_w * w.channels, 0.0F);
  for (std::int64_t i = 0; i < images; ++i) {
    for (std::int64_t y = 0; y < w.out_h; ++y) {
      for (std::int64_t x = 0; x < w.out_w; ++x) {
        const std::int64_t o = ((i * w.out_h + y) * w.out_w + x) * w.channels;
        const Positions rows = inside(w, y, w.in_h), columns = inside(w, x, w.in_w);
        for (std::int64_t ky = rows.begin; ky < rows.end; ++ky) {
          for (std::int64_t kx = columns.begin; kx < columns.end; ++kx) {
            const std::int64_t in_y = y * w.stride - w.padding + ky, in_x = x * w.stride - w.padding + kx;
            const std::int64_t row = (i * w.in_h + in_y) * w.in_w + in_x;
            float* const dr = dz + row * w.channels;
            const auto position = static_cast<std::uint16_t>(ky * w.kernel + kx);
            for (std::int64_t c = 0; c < w.channels; ++c) {
              dr[c] += route[o + c] == position ? dout[o + c] : 0.0F;
            }
          }
        }
      }
    }
  }
}

void average(std::int64_t images, std::int64_t pixels, std::int64_t channels, const float* x, float* out) {
  const float share = 1.0F / static_cast<float>(pixels);
  for (std::int64_t i = 0; i < images; ++i) {
    float* const o = out + i * channels;
    std::fill(o, o + channels, 0.0F);
    for (std::int64_t p = 0; p < pixels; ++p) {
      const float* const r = x + (i * pixels + p) * channels;
      for (std::int64_t c = 0; c < channels; ++c) o[c] += r[c];
    }
    for (std::int64_t c = 0; c < channels; ++c) o[c] *= share;
  }
}

void average_backward(std::int64_t images, std::int64_t pixels, std::int64_t channels, const float* dout,
                      float* dx) {
  const float share = 1.0F / static_cast<float>(pixels);
  for (std::int64_t i = 0; i < images; ++i) {
    for (std::int64_t p = 0; p < pixels; ++p) {
      float* const r = dx + (i * pixels + p) * channels;
      for (std::int64_t c = 0; c < channels; ++c) r[c] = dout[i * channels + c] * share;
    }
  }
}

}  // namespace kintsugi::training

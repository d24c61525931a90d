// What follows a GEMM on the host: a per-channel affine map (bias or batch-norm), ReLU, and max-pool in one
// pass, with the routes that the backward pass sends gradients along.
//
// A route belongs to one output value and names the window position whose value it took (the pool's arg-max,
// first in scan order), or kBlocked where no gradient passes (ReLU off, value clamped by quantisation). So
// the backward pass depends on the values that the forward pass saw, simulated or not, and on nothing else.
#pragma once

#include <cstdint>

namespace kintsugi::training {

inline constexpr std::uint16_t kBlocked = 0xffff;

// A map of `channels` channels and the window that slides over it; kernel 1 and stride 1: no pooling.
struct Window {
  std::int64_t channels = 0;
  std::int64_t in_h = 0, in_w = 0;
  std::int64_t kernel = 1, stride = 1;  // kernel ≤ 255
  std::int64_t out_h = 0, out_w = 0;
  std::int64_t padding = 0;  // positions outside the map are left out
};

// z: images × in_h × in_w × channels. out, route: images × out_h × out_w × channels.
// out = max over the window of f(alpha[c] · z + beta[c]), f = ReLU or identity.
void activate_and_pool(const Window& window, std::int64_t images, const float* z, const float* alpha,
                       const float* beta, bool relu, float* out, std::uint16_t* route);

// Gradient with respect to alpha·z + beta, overwritten: every output's gradient goes where its route says.
void route_gradient(const Window& window, std::int64_t images, const float* dout, const std::uint16_t* route,
                    float* dz);

// out[i, c] = mean over `pixels` of x[i, p, c].
void average(std::int64_t images, std::int64_t pixels, std::int64_t channels, const float* x, float* out);
// dx[i, p, c] = dout[i, c] / pixels.
void average_backward(std::int64_t images, std::int64_t pixels, std::int64_t channels, const float* dout,
                      float* dx);

}  // namespace kintsugi::training

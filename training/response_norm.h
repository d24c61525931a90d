// Local response normalisation across channels in training (Krizhevsky et al., NIPS 2012, §3.3):
// y[c] = x[c] · d[c]^−beta, d[c] = k + alpha/size · Σ x[j]², j = c − size/2 … c + (size−1)/2.
//
// Values are rows × channels (N, H, W, C); each row is worked out in double precision by itself, so results
// do not depend on how rows are spread over threads.
#pragma once

#include <cstdint>

#include "array/activation_unit.h"

namespace kintsugi::training {

void response_norm(const array::LocalResponseNorm& lrn, std::int64_t rows, std::int64_t channels,
                   const float* x, float* y);

// dx[i] = dy[i] · d[i]^−beta − 2 · alpha · beta / size · x[i] · Σ_c dy[c] · x[c] · d[c]^(−beta−1) over the
// channels c whose sums hold x[i]. Overwrites dx.
void response_norm_backward(const array::LocalResponseNorm& lrn, std::int64_t rows, std::int64_t channels,
                            const float* x, const float* dy, float* dx);

}  // namespace kintsugi::training

#include "workloads/local_response_norm.h"

namespace kintsugi::workloads {

void local_response_norm(const array::LocalResponseNorm& norm, std::int64_t channels, std::int64_t pixels,
                         const float* in, float* out) {
  for (std::int64_t c = 0; c < channels; ++c) {
    const array::NormWindow window = array::norm_window(norm, channels, c);
    for (std::int64_t p = 0; p < pixels; ++p) {
      double squares = 0;
      for (std::int64_t j = window.begin; j < window.end; ++j)
        squares += static_cast<double>(in[j * pixels + p]) * in[j * pixels + p];
      out[c * pixels + p] = static_cast<float>(in[c * pixels + p] * array::norm_factor(norm, squares));
    }
  }
}

}  // namespace kintsugi::workloads

#include "bench/peers/plain_array.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace kintsugi::bench {

// One cycle: rows from the last up, so that each still finds the values before the clock edge. Sizes are
// constants.
struct PlainLoop {
  static constexpr int kRows = PlainArray::kRows, kCols = PlainArray::kCols;

  [[gnu::always_inline]] static void cycle(PlainArray::State& s, const std::int8_t* entering) {
    for (int r = kRows - 1; r >= 0; --r) {
      std::int8_t* __restrict a = s.activations[r];
      std::memmove(a + 1, a, kCols - 1);
      a[0] = entering[r];
      std::int32_t* __restrict psum = s.psums[r + 1];
      const std::int32_t* __restrict above = s.psums[r];
      const std::int8_t* __restrict w = s.weights[r];
      for (int c = 0; c < kCols; ++c) psum[c] = above[c] + w[c] * a[c];
    }
  }
  static void avx2(PlainArray::State& s, const std::int8_t* entering) { cycle(s, entering); }
  [[gnu::target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,prefer-vector-width=512")]] static void avx512(
      PlainArray::State& s, const std::int8_t* entering) {
    cycle(s, entering);
  }
};

PlainArray::PlainArray(std::vector<std::int8_t> weights) : state_(std::make_unique<State>()) {
  std::memcpy(state_->weights, weights.data(), sizeof state_->weights);
}

std::vector<std::int32_t> PlainArray::run(const std::vector<std::int8_t>& activations, bool wide,
                                          std::int64_t& cycles) {
  const std::int64_t m = std::ssize(activations) / kRows;
  const std::int64_t last = m + kRows + kCols - 2;
  // The skew is made beforehand, and undone afterwards, outside the loop over cycles.
  std::vector<std::int8_t> entering(static_cast<std::size_t>(last) * kRows, 0);
  for (std::int64_t i = 0; i < m; ++i)
    for (int r = 0; r < kRows; ++r) entering[(i + r) * kRows + r] = activations[i * kRows + r];
  std::vector<std::int32_t> bottom(static_cast<std::size_t>(last) * kCols);
  for (std::int64_t t = 0; t < last; ++t) {
    (wide ? PlainLoop::avx512 : PlainLoop::avx2)(*state_, entering.data() + t * kRows);
    std::memcpy(bottom.data() + t * kCols, state_->psums[kRows], sizeof state_->psums[kRows]);
  }
  std::vector<std::int32_t> results(static_cast<std::size_t>(m) * kCols);
  for (std::int64_t i = 0; i < m; ++i)
    for (int c = 0; c < kCols; ++c) results[i * kCols + c] = bottom[(i + kRows - 1 + c) * kCols + c];
  cycles += last;
  return results;
}

}  // namespace kintsugi::bench

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

const std::vector<std::int32_t>& PlainArray::run(const std::vector<std::int8_t>& activations, bool wide,
                                                 std::int64_t& cycles) {
  const std::int64_t m = std::ssize(activations) / kRows;
  const std::int64_t last = m + kRows + kCols - 2;
  results_.assign(static_cast<std::size_t>(m) * kCols, 0);
  std::int8_t entering[kRows];
  for (std::int64_t t = 0; t < last; ++t) {
    for (int r = 0; r < kRows; ++r)
      entering[r] = t >= r && t - r < m ? activations[(t - r) * kRows + r] : std::int8_t{0};
    (wide ? PlainLoop::avx512 : PlainLoop::avx2)(*state_, entering);
    const std::int32_t* bottom = state_->psums[kRows];
    const std::int64_t newest = t - (kRows - 1);
    const int begin = static_cast<int>(std::max<std::int64_t>(newest - m + 1, 0));
    const int end = static_cast<int>(std::min<std::int64_t>(newest + 1, kCols));
    for (int c = begin; c < end; ++c) results_[(newest - c) * kCols + c] = bottom[c];
  }
  cycles += last;
  return results_;
}

}  // namespace kintsugi::bench

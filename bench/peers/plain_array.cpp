#include "bench/peers/plain_array.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace kintsugi::bench {

namespace {

// One cycle: rows from the last up, so that each still finds the values before the clock edge.
[[gnu::always_inline]] inline void cycle(int rows, int cols, std::int32_t* psums, std::int8_t* activations,
                                         const std::int8_t* weights, const std::int8_t* entering) {
  for (int r = rows - 1; r >= 0; --r) {
    std::int8_t* __restrict a = activations + r * cols;
    std::memmove(a + 1, a, cols - 1);
    a[0] = entering[r];
    std::int32_t* __restrict psum = psums + (r + 1) * cols;
    const std::int32_t* __restrict above = psums + r * cols;
    const std::int8_t* __restrict w = weights + r * cols;
    for (int c = 0; c < cols; ++c) psum[c] = above[c] + w[c] * a[c];
  }
}

void cycle_avx2(int rows, int cols, std::int32_t* psums, std::int8_t* activations, const std::int8_t* weights,
                const std::int8_t* entering) {
  cycle(rows, cols, psums, activations, weights, entering);
}

[[gnu::target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,prefer-vector-width=512")]] void cycle_avx512(
    int rows, int cols, std::int32_t* psums, std::int8_t* activations, const std::int8_t* weights,
    const std::int8_t* entering) {
  cycle(rows, cols, psums, activations, weights, entering);
}

}  // namespace

PlainArray::PlainArray(int rows, int cols, std::vector<std::int8_t> weights)
    : rows_(rows),
      cols_(cols),
      weights_(std::move(weights)),
      activations_(weights_.size(), 0),
      psums_(weights_.size() + cols, 0) {}

std::vector<std::int32_t> PlainArray::run(const std::vector<std::int8_t>& activations, bool wide,
                                          std::int64_t& cycles) {
  const std::int64_t m = std::ssize(activations) / rows_;
  const std::int64_t last = m + rows_ + cols_ - 2;
  std::vector<std::int32_t> results(static_cast<std::size_t>(m) * cols_);
  std::vector<std::int8_t> entering(rows_);
  for (std::int64_t t = 0; t < last; ++t) {
    for (int r = 0; r < rows_; ++r)
      entering[r] = t >= r && t - r < m ? activations[(t - r) * rows_ + r] : std::int8_t{0};
    (wide ? cycle_avx512 : cycle_avx2)(rows_, cols_, psums_.data(), activations_.data(), weights_.data(),
                                       entering.data());
    const std::int32_t* bottom = psums_.data() + static_cast<std::size_t>(rows_) * cols_;
    for (int c = 0; c < cols_; ++c)
      if (const std::int64_t at = t - (rows_ - 1) - c; at >= 0 && at < m) results[at * cols_ + c] = bottom[c];
  }
  cycles += last;
  return results;
}

}  // namespace kintsugi::bench

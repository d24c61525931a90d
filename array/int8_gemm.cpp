#include "array/int8_gemm.h"

#include <immintrin.h>

#include <cstring>

namespace kintsugi::array {

namespace {

constexpr std::int64_t kLanes = 8;  // int32 per AVX2 register
constexpr std::int64_t kPanel = WidenedPanels::kPanel;
constexpr std::int64_t kRows = 4;  // rows of a worked on at once

// Rows of k in pairs, widened: one 32-bit word holds (k, k+1), as vpmaddwd wants them.
std::int32_t word(std::int8_t low, std::int8_t high) {
  return static_cast<std::int32_t>(static_cast<std::uint16_t>(low) |
                                   static_cast<std::uint32_t>(static_cast<std::uint16_t>(high)) << 16);
}

void widen(std::int64_t m, std::int64_t k, const std::int8_t* a, std::int64_t lda, std::int16_t* packed) {
  const std::int64_t width = (k + 1) / 2 * 2;
  for (std::int64_t i = 0; i < m; ++i) {
    for (std::int64_t j = 0; j < k; ++j) packed[i * width + j] = a[i * lda + j];
    if (width > k) packed[i * width + k] = 0;
  }
}

template <int Rows>
void micro_kernel_avx2(std::int64_t pairs, const std::int16_t* a, const std::int16_t* panel,
                       std::int64_t columns, std::int32_t* c, std::int64_t ldc) {
  __m256i sum[Rows][2];
  for (auto& row : sum) row[0] = row[1] = _mm256_setzero_si256();
  for (std::int64_t p = 0; p < pairs; ++p) {
    const __m256i b0 = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(panel + p * 2 * kPanel));
    const __m256i b1 = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(panel + p * 2 * kPanel + kPanel));
    for (int i = 0; i < Rows; ++i) {
      std::int32_t pair;
      std::memcpy(&pair, a + (i * pairs + p) * 2, sizeof pair);
      const __m256i left = _mm256_set1_epi32(pair);
      sum[i][0] = _mm256_add_epi32(sum[i][0], _mm256_madd_epi16(left, b0));
      sum[i][1] = _mm256_add_epi32(sum[i][1], _mm256_madd_epi16(left, b1));
    }
  }
  for (int i = 0; i < Rows; ++i) {
    std::int32_t row[kPanel];
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(row), sum[i][0]);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(row + kLanes), sum[i][1]);
    std::memcpy(c + i * ldc, row, static_cast<std::size_t>(columns) * sizeof(std::int32_t));
  }
}

// The same without intrinsics, row by row: with the rows inside, GCC 12 vectorises across them and reads
// beyond the last.
template <int Rows>
void micro_kernel_portable(std::int64_t pairs, const std::int16_t* a, const std::int16_t* panel,
                           std::int64_t columns, std::int32_t* c, std::int64_t ldc) {
  for (int i = 0; i < Rows; ++i) {
    std::uint32_t sum[kPanel] = {};
    const std::int16_t* row = a + i * pairs * 2;
    for (std::int64_t p = 0; p < pairs; ++p) {
      const std::int32_t low = row[2 * p], high = row[2 * p + 1];
      for (std::int64_t j = 0; j < kPanel; ++j)
        sum[j] += static_cast<std::uint32_t>(low * panel[(p * kPanel + j) * 2]) +
                  static_cast<std::uint32_t>(high * panel[(p * kPanel + j) * 2 + 1]);
    }
    std::memcpy(c + i * ldc, sum, static_cast<std::size_t>(columns) * sizeof(std::int32_t));
  }
}

}  // namespace

void WidenedPanels::pack(std::int64_t n, std::int64_t k, const std::int8_t* b, std::int64_t ldb) {
  n_ = n;
  k_ = k;
  const std::int64_t pairs = (k + 1) / 2;
  words_.resize(static_cast<std::size_t>((n + kPanel - 1) / kPanel * kPanel * pairs * 2));
  std::int16_t* to = words_.data();
  for (std::int64_t n0 = 0; n0 < n; n0 += kPanel)
    for (std::int64_t p = 0; p < pairs; ++p)
      for (std::int64_t j = 0; j < kPanel; ++j) {
        const bool in = n0 + j < n;
        const std::int32_t w = word(in ? b[2 * p * ldb + n0 + j] : std::int8_t{0},
                                    in && 2 * p + 1 < k ? b[(2 * p + 1) * ldb + n0 + j] : std::int8_t{0});
        std::memcpy(to, &w, sizeof w);
        to += 2;
      }
}

void int8_gemm(Isa isa, std::int64_t m, const std::int8_t* a, std::int64_t lda, const WidenedPanels& b,
               std::int32_t* c, std::int64_t ldc, std::vector<std::int16_t>& widened) {
  const std::int64_t n = b.n(), k = b.k(), pairs = (k + 1) / 2;
  const bool portable = isa == Isa::portable;
  const auto four = portable ? micro_kernel_portable<kRows> : micro_kernel_avx2<kRows>;
  const auto one = portable ? micro_kernel_portable<1> : micro_kernel_avx2<1>;
  widened.resize(static_cast<std::size_t>(m * pairs * 2));
  widen(m, k, a, lda, widened.data());
  for (std::int64_t n0 = 0; n0 < n; n0 += kPanel) {
    const std::int16_t* panel = b.panel(n0 / kPanel);
    const std::int64_t columns = n0 + kPanel <= n ? kPanel : n - n0;
    std::int64_t i = 0;
    for (; i + kRows <= m; i += kRows)
      four(pairs, widened.data() + i * pairs * 2, panel, columns, c + i * ldc + n0, ldc);
    for (; i < m; ++i) one(pairs, widened.data() + i * pairs * 2, panel, columns, c + i * ldc + n0, ldc);
  }
}

}  // namespace kintsugi::array

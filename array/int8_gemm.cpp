#include "array/int8_gemm.h"

#include <immintrin.h>

#include <cstdlib>
#include <cstring>
#include <dnnl.hpp>
#include <stdexcept>
#include <string_view>

namespace kintsugi::array {

namespace {

constexpr std::int64_t kLanes = 8;           // int32 per AVX2 register
constexpr std::int64_t kPanel = 2 * kLanes;  // columns of b worked on at once
constexpr std::int64_t kRows = 4;            // rows of a worked on at once

void onednn_gemm(std::int64_t m, std::int64_t n, std::int64_t k, const std::int8_t* a, std::int64_t lda,
                 const std::int8_t* b, std::int64_t ldb, std::int32_t* c, std::int64_t ldc) {
  const std::int32_t no_offset = 0;
  const dnnl_status_t status =
      dnnl_gemm_s8s8s32('N', 'N', 'F', m, n, k, 1.0f, a, lda, 0, b, ldb, 0, 0.0f, c, ldc, &no_offset);
  if (status != dnnl_success) throw std::runtime_error("oneDNN refused an int8 matrix product");
}

// Rows of k in pairs, widened: one 32-bit word holds (k, k+1), as vpmaddwd wants them.
std::int32_t word(std::int8_t low, std::int8_t high) {
  return static_cast<std::int32_t>(static_cast<std::uint16_t>(low) |
                                   static_cast<std::uint32_t>(static_cast<std::uint16_t>(high)) << 16);
}

// b -> panels of kPanel columns; in a panel, for each pair of k, kPanel words. Missing columns and the odd
// last k are zero.
void pack_b(std::int64_t n, std::int64_t k, const std::int8_t* b, std::int64_t ldb, std::int16_t* packed) {
  const std::int64_t pairs = (k + 1) / 2;
  for (std::int64_t n0 = 0; n0 < n; n0 += kPanel)
    for (std::int64_t p = 0; p < pairs; ++p)
      for (std::int64_t j = 0; j < kPanel; ++j) {
        const bool in = n0 + j < n;
        const std::int32_t w = word(in ? b[2 * p * ldb + n0 + j] : std::int8_t{0},
                                    in && 2 * p + 1 < k ? b[(2 * p + 1) * ldb + n0 + j] : std::int8_t{0});
        std::memcpy(packed, &w, sizeof w);
        packed += 2;
      }
}

void pack_a(std::int64_t m, std::int64_t k, const std::int8_t* a, std::int64_t lda, std::int16_t* packed) {
  const std::int64_t width = (k + 1) / 2 * 2;
  for (std::int64_t i = 0; i < m; ++i) {
    for (std::int64_t j = 0; j < k; ++j) packed[i * width + j] = a[i * lda + j];
    if (width > k) packed[i * width + k] = 0;
  }
}

template <int Rows>
void micro_kernel(std::int64_t pairs, const std::int16_t* a, const std::int16_t* panel, std::int64_t columns,
                  std::int32_t* c, std::int64_t ldc) {
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

void portable_gemm(std::int64_t m, std::int64_t n, std::int64_t k, const std::int8_t* a, std::int64_t lda,
                   const std::int8_t* b, std::int64_t ldb, std::int32_t* c, std::int64_t ldc,
                   GemmScratch& scratch) {
  const std::int64_t pairs = (k + 1) / 2;
  const std::int64_t panels = (n + kPanel - 1) / kPanel;
  scratch.a.resize(static_cast<std::size_t>(m * pairs * 2));
  scratch.b.resize(static_cast<std::size_t>(panels * kPanel * pairs * 2));
  pack_a(m, k, a, lda, scratch.a.data());
  pack_b(n, k, b, ldb, scratch.b.data());
  for (std::int64_t panel = 0; panel < panels; ++panel) {
    const std::int16_t* pb = scratch.b.data() + panel * kPanel * pairs * 2;
    const std::int64_t columns = panel * kPanel + kPanel <= n ? kPanel : n - panel * kPanel;
    std::int64_t i = 0;
    for (; i + kRows <= m; i += kRows)
      micro_kernel<kRows>(pairs, scratch.a.data() + i * pairs * 2, pb, columns, c + i * ldc + panel * kPanel,
                          ldc);
    for (; i < m; ++i)
      micro_kernel<1>(pairs, scratch.a.data() + i * pairs * 2, pb, columns, c + i * ldc + panel * kPanel,
                      ldc);
  }
}

// Operands that a saturating kernel gets wrong, at a size that fills its vector registers.
bool onednn_is_exact() {
  constexpr std::int64_t kSize = 64;
  const std::int8_t extremes[] = {-128, 127, -127};
  for (const std::int8_t x : extremes)
    for (const std::int8_t y : extremes) {
      const std::vector<std::int8_t> a(kSize * kSize, x), b(kSize * kSize, y);
      std::vector<std::int32_t> c(kSize * kSize);
      onednn_gemm(kSize, kSize, kSize, a.data(), kSize, b.data(), kSize, c.data(), kSize);
      for (const std::int32_t value : c)
        if (value != kSize * x * y) return false;
    }
  return true;
}

}  // namespace

GemmKernel choose_gemm_kernel() {
  const char* isa = std::getenv("KINTSUGI_ISA");
  if (isa != nullptr && std::string_view(isa) == "portable") return GemmKernel::portable;
  if (!__builtin_cpu_supports("avx512vnni")) return GemmKernel::portable;
  // The library may have been told to use less than the processor has (DNNL_MAX_CPU_ISA). Its codes grow by
  // bits: a set that contains avx512_core_vnni has all of that set's bits.
  constexpr auto kNeeded = static_cast<unsigned>(dnnl_cpu_isa_avx512_core_vnni);
  if ((static_cast<unsigned>(dnnl_get_effective_cpu_isa()) & kNeeded) != kNeeded) return GemmKernel::portable;
  return onednn_is_exact() ? GemmKernel::onednn : GemmKernel::portable;
}

void int8_gemm(GemmKernel kernel, std::int64_t m, std::int64_t n, std::int64_t k, const std::int8_t* a,
               std::int64_t lda, const std::int8_t* b, std::int64_t ldb, std::int32_t* c, std::int64_t ldc,
               GemmScratch& scratch) {
  if (kernel == GemmKernel::onednn)
    onednn_gemm(m, n, k, a, lda, b, ldb, c, ldc);
  else
    portable_gemm(m, n, k, a, lda, b, ldb, c, ldc, scratch);
}

}  // namespace kintsugi::array

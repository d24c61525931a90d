// Exact int8 × int8 -> int32 matrix product, wrapping at 32 bits, on operands widened to 16 bits: the clean
// runs of the functional engine where there is no AVX-512 VNNI.
//
// Contract: the same bits from every kernel, on every machine, for all operands (−128 included) and all
// sizes. Libraries' int8 products saturate pairs of products at 16 bits on such machines and are not used.
#pragma once

#include <cstdint>
#include <vector>

#include "array/isa.h"

namespace kintsugi::array {

// The right operand as the kernels read it: panels of 16 columns; in a panel, for each pair of k, 16 words of
// two 16-bit values.
class WidenedPanels {
 public:
  // b: k×n, row-major with stride ldb.
  void pack(std::int64_t n, std::int64_t k, const std::int8_t* b, std::int64_t ldb);
  std::int64_t n() const { return n_; }
  std::int64_t k() const { return k_; }
  const std::int16_t* panel(std::int64_t p) const { return words_.data() + p * ((k_ + 1) / 2) * 2 * kPanel; }
  std::size_t bytes() const { return words_.size() * sizeof(std::int16_t); }

  static constexpr std::int64_t kPanel = 16;

 private:
  std::int64_t n_ = 0, k_ = 0;
  std::vector<std::int16_t> words_;
};

// c[m·ldc + n] = Σ_k a[m·lda + k] · b[k][n], all sizes ≥ 1. Isa::avx512 is done as avx2. `widened` is working
// memory, kept between calls.
void int8_gemm(Isa isa, std::int64_t m, const std::int8_t* a, std::int64_t lda, const WidenedPanels& b,
               std::int32_t* c, std::int64_t ldc, std::vector<std::int16_t>& widened);

}  // namespace kintsugi::array

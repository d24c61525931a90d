// Exact int8 × int8 -> int32 matrix product, wrapping at 32 bits: the clean runs of the functional engine.
//
// Contract: the same bits from every kernel, on every machine, for all operands (−128 included) and all
// sizes. oneDNN is used only where the processor has AVX-512 VNNI: its older paths saturate pairs of products
// at 16 bits. Everywhere else, and where the environment variable KINTSUGI_ISA is `portable`, a kernel of our
// own (AVX2, operands widened to 16 bits) does the work.
#pragma once

#include <cstdint>
#include <vector>

namespace kintsugi::array {

enum class GemmKernel { onednn, portable };

// The fastest kernel that is exact here. oneDNN is tried on operands that would saturate before it is
// trusted.
GemmKernel choose_gemm_kernel();

// Working memory of one thread, kept between calls.
struct GemmScratch {
  std::vector<std::int16_t> a;
  std::vector<std::int16_t> b;
};

// c[m·ldc + n] = Σ_k a[m·lda + k] · b[k·ldb + n], row-major, all sizes ≥ 1. Throws std::runtime_error if
// oneDNN reports a failure.
void int8_gemm(GemmKernel kernel, std::int64_t m, std::int64_t n, std::int64_t k, const std::int8_t* a,
               std::int64_t lda, const std::int8_t* b, std::int64_t ldb, std::int32_t* c, std::int64_t ldc,
               GemmScratch& scratch);

}  // namespace kintsugi::array

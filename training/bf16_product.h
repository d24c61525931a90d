// Matrix products of bfloat16 operands added to a float result: half the bytes and twice the speed of float
// where the processor has such instructions. Sums are taken in float.
#pragma once

#include <cstddef>
#include <cstdint>
#include <dnnl.hpp>
#include <vector>

namespace kintsugi::training {

// The bits of a bfloat16: the upper half of a float.
using Bf16 = std::uint16_t;

// Rounds to nearest even; NaN stays NaN.
void to_bf16(const float* values, std::int64_t count, Bf16* out);

// C (m×n) += A (m×k) B (k×n), row-major; A may be stored transposed. Made once for its sizes; calls may run
// at the same time with a scratch of their own each.
class Bf16Product {
 public:
  struct Sizes {
    std::int64_t m = 0, n = 0, k = 0;
    std::int64_t lda = 0;  // between rows of A, or if it is transposed between its columns
    bool transposed = false;
    auto operator<=>(const Sizes&) const = default;
  };

  // Throws common::InputError where the library has no such product for this processor.
  explicit Bf16Product(const Sizes& sizes);

  void run(const Bf16* a, const Bf16* b, float* c, std::vector<std::byte>& scratch) const;

 private:
  dnnl::engine engine_{dnnl::engine::kind::cpu, 0};
  dnnl::memory::desc a_, b_, c_, scratch_;
  dnnl::matmul product_;
};

}  // namespace kintsugi::training

// Activations and sums of chained columns as the AVX-512 VNNI code wants them: four rows to a word, stream
// positions side by side.
#pragma once

#include <cstdint>
#include <span>

#include "array/aligned_buffer.h"

namespace kintsugi::array {

inline constexpr std::int64_t kVnniPositions = 32;  // worked on together

// The activations of one tile for many positions.
class QuadBlock {
 public:
  // a: `positions` rows of `used` values with stride lda; rows of the array beyond `used`, and positions up
  // to the next multiple of kVnniPositions, are zero.
  void load(const std::int8_t* a, std::int64_t lda, std::int64_t positions, std::int64_t used, int rows);

  std::int64_t blocks() const { return blocks_; }
  // Unsigned bytes (a + 128), [quad][position in block][4]. Chains alter them in place, as activation
  // registers do for what lies to their right.
  std::int32_t* block(std::int64_t b) { return words_.data() + b * quads_ * kVnniPositions; }

 private:
  std::int64_t quads_ = 0, blocks_ = 0;
  AlignedBuffer<std::int32_t> words_;
};

// sums (column c's positions at sums + c·stride) to out (row m at out + m·ldc), columns listed in `to`.
void store_columns(const std::int32_t* sums, std::int64_t stride, std::span<const std::int64_t> to,
                   std::int64_t positions, std::int32_t* out, std::int64_t ldc);

}  // namespace kintsugi::array

// Exact int8 convolution and matrix product with AVX-512 VNNI, on activations where they lie: no gathered
// copy, and windows skip what leaves the image instead of multiplying zeros.
//
// Activations are made unsigned by flipping their top bit (a + 128) in registers; the 128·Σw that this adds
// is part of each sum's start. Sums wrap at 32 bits, where every order is exact: vpdpbusd does not saturate.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "array/aligned_buffer.h"
#include "array/layer_shape.h"

namespace kintsugi::array {

// Weights as the kernel reads them: panels of 64 columns; in a panel, for each window tap and each four
// values of its depth, 64 columns × 4 bytes. A panel without any weight is not multiplied.
class PackedWeights {
 public:
  // weights: (taps·depth)×n, row-major with stride ld. Depth is rounded up to 4 with zeros.
  void pack(const std::int8_t* weights, std::int64_t taps, std::int64_t depth, std::int64_t n,
            std::int64_t ld);

  std::int64_t taps() const { return taps_; }
  std::int64_t depth() const { return depth_; }
  std::int64_t quads() const { return quads_; }  // per tap
  std::int64_t n() const { return n_; }
  std::int64_t panels() const { return (n_ + kPanel - 1) / kPanel; }
  std::size_t bytes() const { return data_.bytes() + start_.size() * sizeof(std::int32_t); }
  const std::int8_t* panel(std::int64_t p) const { return data_.data() + p * taps_ * quads_ * 4 * kPanel; }
  // −128·Σw of one tap, kPanel columns of it.
  const std::int32_t* start(std::int64_t p, std::int64_t tap) const {
    return start_.data() + (p * taps_ + tap) * kPanel;
  }

  static constexpr std::int64_t kPanel = 64;

 private:
  std::int64_t taps_ = 0, depth_ = 0, quads_ = 0, n_ = 0;
  AlignedBuffer<std::int8_t> data_;
  std::vector<std::int32_t> start_;
};

// One image's output positions, by which taps of the window lie inside the image.
class WindowClasses {
 public:
  struct Class {
    std::vector<std::int32_t> taps;  // the first inside the image in each line of the window
    std::int64_t run = 0;            // taps inside in each line; they are neighbours in memory
    std::vector<std::int64_t>
        tap_offsets;  // in a flipped image, from a window's corner (which may lie outside)
    std::vector<std::int32_t> positions;  // of the output map
    std::vector<std::int64_t> corners;    // in a flipped image, one for each position
  };
  void build(const LayerShape& shape);
  const std::vector<Class>& classes() const { return classes_; }

 private:
  std::vector<Class> classes_;
};

// Working memory of one thread.
struct ProductScratch {
  AlignedBuffer<std::int8_t> flipped;  // activations + 128, pixels padded to four values
  std::vector<const std::int8_t*> rows;
  std::vector<std::int32_t*> outs;
  std::vector<std::int32_t> start;  // of the sums
};

// Which panels to multiply; those left out are not written.
using Panels = std::span<const std::int64_t>;

// Images [begin, begin + count) of one group: `activations` is the group's first channel of the first image
// of the batch, `out` the group's first column of the batch's first row, ldc its stride.
void vnni_convolution(const PackedWeights& weights, Panels panels, const WindowClasses& windows,
                      const LayerShape& shape, const std::int8_t* activations, std::int64_t begin,
                      std::int64_t count, std::int32_t* out, std::int64_t ldc, ProductScratch& scratch);

// c (m×n, stride ldc) = a (m×k, stride lda) · weights, which have one tap. Reads up to three bytes past a
// row's k where k is not a multiple of four: `a` must have them.
void vnni_gemm(const PackedWeights& weights, Panels panels, std::int64_t m, const std::int8_t* a,
               std::int64_t lda, std::int32_t* c, std::int64_t ldc, ProductScratch& scratch);

}  // namespace kintsugi::array

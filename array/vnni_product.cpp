#include "array/vnni_product.h"

#include <immintrin.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <span>
#include <utility>

namespace kintsugi::array {

namespace {

constexpr int kLanes = 16;
constexpr __mmask16 kWhole = 0xffff;
constexpr std::int64_t kPanel = PackedWeights::kPanel;
constexpr std::int64_t kBlockBytes = 1 << 18;  // of activations worked on together

// What a micro-tile multiplies: for each tap, `quads` groups of four values from rows[i] + offsets[t], with
// the weights of tap taps[t].
struct Reduction {
  const std::int64_t* offsets;
  const std::int32_t* taps;
  std::int64_t count;
  std::int64_t quads;
  std::int64_t tap_bytes;  // of a panel's weights for one tap
};

// Rows × (16·Vectors) sums in registers. `last` masks the last vector's columns.
template <int Rows, int Vectors>
[[gnu::target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]] void micro_tile(
    const Reduction& reduction, const std::int8_t* panel, const std::int32_t* start,
    const std::int8_t* const* rows, std::int32_t* const* outs, __mmask16 last) {
  __m512i sum[Rows][Vectors];
#pragma GCC unroll 16
  for (int v = 0; v < Vectors; ++v) {
    const __m512i first = _mm512_loadu_si512(start + v * kLanes);
#pragma GCC unroll 16
    for (int i = 0; i < Rows; ++i) sum[i][v] = first;
  }
  for (std::int64_t t = 0; t < reduction.count; ++t) {
    const std::int8_t* b = panel + reduction.taps[t] * reduction.tap_bytes;
    const std::int64_t offset = reduction.offsets[t];
    const std::int8_t* a[Rows];
#pragma GCC unroll 16
    for (int i = 0; i < Rows; ++i) a[i] = rows[i] + offset;
    for (std::int64_t q = 0; q < reduction.quads; ++q, b += 4 * kPanel) {
      __m512i right[Vectors];
#pragma GCC unroll 16
      for (int v = 0; v < Vectors; ++v) right[v] = _mm512_load_si512(b + v * 4 * kLanes);
#pragma GCC unroll 16
      for (int i = 0; i < Rows; ++i) {
        std::int32_t word;
        std::memcpy(&word, a[i] + 4 * q, sizeof word);
        const __m512i left = _mm512_set1_epi32(word);
#pragma GCC unroll 16
        for (int v = 0; v < Vectors; ++v) sum[i][v] = _mm512_dpbusd_epi32(sum[i][v], left, right[v]);
      }
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < Rows; ++i) {
#pragma GCC unroll 16
    for (int v = 0; v + 1 < Vectors; ++v) _mm512_storeu_si512(outs[i] + v * kLanes, sum[i][v]);
    // Also for speed: with the masked store alone, GCC 12 moves the last sums to the stack and back in the
    // loop.
    if (last == kWhole)
      _mm512_storeu_si512(outs[i] + (Vectors - 1) * kLanes, sum[i][Vectors - 1]);
    else
      _mm512_mask_storeu_epi32(outs[i] + (Vectors - 1) * kLanes, last, sum[i][Vectors - 1]);
  }
}

using MicroTile = void (*)(const Reduction&, const std::int8_t*, const std::int32_t*,
                           const std::int8_t* const*, std::int32_t* const*, __mmask16);

// Rows that keep the registers full, for panels of one to four vectors; tables by number of rows left.
template <int Vectors, int... Rows>
constexpr auto micro_tiles(std::integer_sequence<int, Rows...>) {
  return std::array<MicroTile, sizeof...(Rows)>{micro_tile<Rows + 1, Vectors>...};
}
constexpr auto kOne = micro_tiles<1>(std::make_integer_sequence<int, 12>{});
constexpr auto kTwo = micro_tiles<2>(std::make_integer_sequence<int, 12>{});
constexpr auto kThree = micro_tiles<3>(std::make_integer_sequence<int, 8>{});
constexpr auto kFour = micro_tiles<4>(std::make_integer_sequence<int, 6>{});

std::span<const MicroTile> tiles_for(int vectors) {
  switch (vectors) {
    case 1:
      return kOne;
    case 2:
      return kTwo;
    case 3:
      return kThree;
    default:
      return kFour;
  }
}

// All rows against one panel.
void run_panel(const PackedWeights& weights, std::int64_t p, const Reduction& reduction,
               const std::int32_t* start, std::span<const std::int8_t* const> rows,
               std::span<std::int32_t* const> outs) {
  const std::int64_t columns = std::min(kPanel, weights.n() - p * kPanel);
  const int vectors = static_cast<int>((columns + kLanes - 1) / kLanes);
  const auto last = static_cast<__mmask16>(0xffffu >> (vectors * kLanes - columns));
  const std::span<const MicroTile> kernels = tiles_for(vectors);
  std::int32_t* shifted[12];
  for (std::size_t i = 0; i < rows.size();) {
    const std::size_t count = std::min(kernels.size(), rows.size() - i);
    for (std::size_t j = 0; j < count; ++j) shifted[j] = outs[i + j] + p * kPanel;
    kernels[count - 1](reduction, weights.panel(p), start, rows.data() + i, shifted, last);
    i += count;
  }
}

}  // namespace

void PackedWeights::pack(const std::int8_t* weights, std::int64_t taps, std::int64_t depth, std::int64_t n,
                         std::int64_t ld) {
  taps_ = taps;
  depth_ = depth;
  quads_ = (depth + 3) / 4;
  n_ = n;
  const std::int64_t panel_bytes = taps * quads_ * 4 * kPanel;
  std::int8_t* const data = data_.ensure(static_cast<std::size_t>(panels() * panel_bytes));
  start_.assign(static_cast<std::size_t>(panels() * taps * kPanel), 0);
  for (std::int64_t p = 0; p < panels(); ++p) {
    const std::int64_t columns = std::min(kPanel, n - p * kPanel);
    std::int8_t* to = data + p * panel_bytes;
    std::int32_t* start = start_.data() + p * taps * kPanel;
    for (std::int64_t t = 0; t < taps; ++t, start += kPanel)
      for (std::int64_t q = 0; q < quads_; ++q, to += 4 * kPanel) {
        if (columns < kPanel || 4 * q + 4 > depth) std::memset(to, 0, 4 * kPanel);
        for (std::int64_t i = 0; i < std::min<std::int64_t>(4, depth - 4 * q); ++i) {
          const std::int8_t* from = weights + (t * depth + 4 * q + i) * ld + p * kPanel;
          for (std::int64_t c = 0; c < columns; ++c) {
            to[4 * c + i] = from[c];
            // Wraps, as all sums do.
            start[c] = static_cast<std::int32_t>(static_cast<std::uint32_t>(start[c]) -
                                                 static_cast<std::uint32_t>(128 * from[c]));
          }
        }
      }
  }
}

namespace {

std::int64_t round_up(std::int64_t x, std::int64_t to) {
  return (x + to - 1) / to * to;
}

// `count` runs of `depth` values, `from` apart, top bit flipped, to runs of `padded`.
void flip_top_bits(const std::int8_t* a, std::int64_t count, std::int64_t from, std::int64_t depth,
                   std::int64_t padded, std::int8_t* to) {
  if (from == depth && padded == depth) {
    depth *= count;
    count = 1;
  }
  if (padded == 4)  // an image's three channels: whole words, as long as there are four bytes to read
    for (; (count - 1) * from + depth >= 4; --count, a += from, to += padded) {
      std::uint32_t word;
      std::memcpy(&word, a, sizeof word);
      word ^= 0x80808080u;
      std::memcpy(to, &word, sizeof word);
    }
  for (std::int64_t i = 0; i < count; ++i, a += from, to += padded)
    for (std::int64_t j = 0; j < depth; ++j)
      to[j] = static_cast<std::int8_t>(static_cast<std::uint8_t>(a[j]) ^ 0x80u);
}

}  // namespace

void WindowClasses::build(const LayerShape& shape) {
  classes_.clear();
  const std::int64_t pixel = round_up(shape.in_c / shape.groups, 4);
  // Positions along one axis, by the range of taps inside the image.
  struct Axis {
    std::int64_t first, last;
    std::vector<std::int64_t> positions;
  };
  const auto axis = [&](std::int64_t in, std::int64_t kernel, std::int64_t out) {
    std::vector<Axis> result;
    for (std::int64_t o = 0; o < out; ++o) {
      const std::int64_t at = o * shape.stride - shape.padding;
      const std::int64_t first = std::clamp<std::int64_t>(-at, 0, kernel);
      const std::int64_t last = std::clamp<std::int64_t>(in - at, first, kernel);
      auto same =
          std::ranges::find_if(result, [&](const Axis& x) { return x.first == first && x.last == last; });
      if (same == result.end()) same = result.insert(same, {first, last, {}});
      same->positions.push_back(o);
    }
    return result;
  };
  const std::vector<Axis> xs = axis(shape.in_w, shape.kernel_w, shape.out_w());
  for (const Axis& y : axis(shape.in_h, shape.kernel_h, shape.out_h()))
    for (const Axis& x : xs) {
      Class& one = classes_.emplace_back();
      one.run = x.last - x.first;
      for (std::int64_t ky = y.first; ky < y.last; ++ky) {
        one.taps.push_back(static_cast<std::int32_t>(ky * shape.kernel_w + x.first));
        one.tap_offsets.push_back((ky * shape.in_w + x.first) * pixel);
      }
      for (const std::int64_t oy : y.positions)
        for (const std::int64_t ox : x.positions) {
          one.positions.push_back(static_cast<std::int32_t>(oy * shape.out_w() + ox));
          one.corners.push_back(
              ((oy * shape.stride - shape.padding) * shape.in_w + ox * shape.stride - shape.padding) * pixel);
        }
    }
}

void vnni_convolution(const PackedWeights& weights, Panels panels, const WindowClasses& windows,
                      const LayerShape& shape, const std::int8_t* activations, std::int64_t begin,
                      std::int64_t count, std::int32_t* out, std::int64_t ldc, ProductScratch& scratch) {
  const std::int64_t pixels = shape.in_h * shape.in_w;
  const std::int64_t depth = shape.in_c / shape.groups, pixel = round_up(depth, 4);
  std::int8_t* const flipped = scratch.flipped.ensure(static_cast<std::size_t>(count * pixels * pixel));
  flip_top_bits(activations + begin * pixels * shape.in_c, count * pixels, shape.in_c, depth, pixel, flipped);
  const std::int64_t out_image = shape.out_h() * shape.out_w();
  // Row and result addresses, class by class.
  scratch.rows.clear();
  scratch.outs.clear();
  for (const WindowClasses::Class& one : windows.classes())
    for (std::int64_t b = begin; b < begin + count; ++b)
      for (std::size_t i = 0; i < one.positions.size(); ++i) {
        scratch.rows.push_back(flipped + (b - begin) * pixels * pixel + one.corners[i]);
        scratch.outs.push_back(out + (b * out_image + one.positions[i]) * ldc);
      }
  scratch.start.resize(kPanel);
  for (const std::int64_t p : panels) {
    std::size_t at = 0;
    for (const WindowClasses::Class& one : windows.classes()) {
      const std::size_t rows = one.positions.size() * static_cast<std::size_t>(count);
      std::ranges::fill(scratch.start, 0);
      for (const std::int32_t first : one.taps)
        for (std::int64_t tap = first; tap < first + one.run; ++tap) {
          const std::int32_t* start = weights.start(p, tap);
          for (std::int64_t c = 0; c < kPanel; ++c) scratch.start[c] += start[c];
        }
      const Reduction reduction{one.tap_offsets.data(), one.taps.data(),
                                static_cast<std::int64_t>(one.taps.size()), weights.quads() * one.run,
                                weights.quads() * 4 * kPanel};
      run_panel(weights, p, reduction, scratch.start.data(), std::span(scratch.rows).subspan(at, rows),
                std::span(scratch.outs).subspan(at, rows));
      at += rows;
    }
  }
}

void vnni_gemm(const PackedWeights& weights, Panels panels, std::int64_t m, const std::int8_t* a,
               std::int64_t lda, std::int32_t* c, std::int64_t ldc, ProductScratch& scratch) {
  const std::int64_t none = 0;
  const std::int32_t tap = 0;
  const Reduction reduction{&none, &tap, 1, weights.quads(), weights.quads() * 4 * kPanel};
  // Rows that stay in the second-level cache while all panels pass.
  const std::int64_t padded = weights.quads() * 4;
  const std::int64_t block = std::clamp<std::int64_t>(kBlockBytes / padded / 12 * 12, 12, 1152);
  std::int8_t* const flipped = scratch.flipped.ensure(static_cast<std::size_t>(block * padded));
  for (std::int64_t m0 = 0; m0 < m; m0 += block) {
    const std::int64_t rows = std::min(block, m - m0);
    flip_top_bits(a + m0 * lda, rows, lda, weights.depth(), padded, flipped);
    scratch.rows.clear();
    scratch.outs.clear();
    for (std::int64_t i = 0; i < rows; ++i) {
      scratch.rows.push_back(flipped + i * padded);
      scratch.outs.push_back(c + (m0 + i) * ldc);
    }
    for (const std::int64_t p : panels)
      run_panel(weights, p, reduction, weights.start(p, 0), scratch.rows, scratch.outs);
  }
}

}  // namespace kintsugi::array

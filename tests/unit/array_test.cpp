// The pieces under the functional engine: PE arithmetic, matrix product, tiling, schedule, requantisation.
#include <gtest/gtest.h>

#include <cstdlib>
#include <numeric>

#include "array/content_hash.h"
#include "array/int8_gemm.h"
#include "array/isa.h"
#include "array/layer_shape.h"
#include "array/requantize.h"
#include "array/schedule.h"
#include "array/vnni_product.h"
#include "common/random.h"
#include "common/thread_pool.h"
#include "tests/support/naive_array.h"
#include "tests/support/random_cases.h"

namespace kintsugi {
namespace {

// --- PE arithmetic ---

TEST(Datapath, equals_the_design_bit_by_bit) {
  common::RandomStream random(1, "datapath");
  for (int i = 0; i < 20000; ++i) {
    const int bits = 16 + static_cast<int>(random.below(17));
    const faults::ArrayFaults faults =
        test::random_faults(random, 1, 1, 1.0, test::all_sites(), test::BypassKind::partial, bits);
    const pe::PeHooks hooks = faults.faulty.empty() ? pe::PeHooks{} : faults.faulty.front().hooks;
    const bool bypass = faults.bypass[0] != 0;
    const std::int32_t w = test::random_int8(random, 1)[0], a = test::random_int8(random, 1)[0];
    const std::int32_t psum = pe::sign_extend(static_cast<std::uint32_t>(random.next()), bits);
    const pe::PeOutputs got = pe::evaluate(hooks, bypass, w, a, psum, bits);
    const pe::PeOutputs want = test::bit_string_pe(hooks, bypass, w, a, psum, bits);
    ASSERT_EQ(got.psum, want.psum) << "draw " << i;
    ASSERT_EQ(got.activation, want.activation) << "draw " << i;
  }
}

TEST(Datapath, worked_examples) {
  pe::PeHooks hooks;
  EXPECT_EQ(pe::evaluate(hooks, false, -128, -128, 5, 32).psum, 16389);
  EXPECT_EQ(pe::evaluate(hooks, false, 2, 3, 2147483647, 32).psum, -2147483643);
  EXPECT_EQ(pe::evaluate(hooks, false, 2, 3, 32767, 16).psum, -32763);
  hooks[pe::Site::multiplier].stick(15, 1);  // the product's sign bit
  EXPECT_EQ(pe::evaluate(hooks, false, 2, 3, 0, 32).psum, 6 - 32768);
  EXPECT_EQ(pe::evaluate(hooks, true, 2, 3, 77, 32).psum, 77);
  hooks = {};
  hooks[pe::Site::psum_register].stick(0, 0);
  EXPECT_EQ(pe::evaluate(hooks, true, 2, 3, 77, 32).psum, 76);
  hooks = {};
  hooks[pe::Site::activation_register].stick(7, 1);
  EXPECT_EQ(pe::evaluate(hooks, true, 1, 1, 0, 32).activation, -127);
  EXPECT_EQ(pe::evaluate(hooks, false, 1, 1, 0, 32).psum, 1);
  hooks = {};
  hooks[pe::Site::adder].flip = 0x80000000u;
  EXPECT_EQ(pe::evaluate(hooks, false, 0, 0, 0, 32).psum, std::numeric_limits<std::int32_t>::min());
}

// --- Matrix product ---

bool can_run(array::Isa isa) {
  return isa != array::Isa::avx512 || array::choose_isa() == array::Isa::avx512;
}

std::vector<std::int32_t> gemm(array::Isa isa, std::int64_t m, std::int64_t n, std::int64_t k,
                               const std::vector<std::int8_t>& a, std::int64_t lda,
                               const std::vector<std::int8_t>& b, std::int64_t ldb, std::int64_t ldc) {
  std::vector<std::int32_t> c(static_cast<std::size_t>(m * ldc), 42);
  if (isa == array::Isa::avx512) {
    array::ProductScratch scratch;
    array::PackedWeights packed;
    packed.pack(b.data(), 1, k, n, ldb);
    std::vector<std::int64_t> panels(static_cast<std::size_t>(packed.panels()));
    std::iota(panels.begin(), panels.end(), 0);
    array::vnni_gemm(packed, panels, m, a.data(), lda, c.data(), ldc, scratch);
  } else {
    std::vector<std::int16_t> scratch;
    array::WidenedPanels packed;
    packed.pack(n, k, b.data(), ldb);
    array::int8_gemm(isa, m, a.data(), lda, packed, c.data(), ldc, scratch);
  }
  return c;
}

// Sums in 64 bits, wrapped once at the end; elements between n and ldc stay 42.
std::vector<std::int32_t> plain_product(std::int64_t m, std::int64_t n, std::int64_t k,
                                        const std::vector<std::int8_t>& a, std::int64_t lda,
                                        const std::vector<std::int8_t>& b, std::int64_t ldb,
                                        std::int64_t ldc) {
  std::vector<std::int32_t> c(static_cast<std::size_t>(m * ldc), 42);
  for (std::int64_t i = 0; i < m; ++i)
    for (std::int64_t j = 0; j < n; ++j) {
      std::int64_t sum = 0;
      for (std::int64_t p = 0; p < k; ++p) sum += std::int64_t{a[i * lda + p]} * b[p * ldb + j];
      c[i * ldc + j] = static_cast<std::int32_t>(static_cast<std::uint64_t>(sum));
    }
  return c;
}

class Int8Gemm : public testing::TestWithParam<array::Isa> {
 protected:
  void SetUp() override {
    if (!can_run(GetParam())) GTEST_SKIP() << "this processor has no AVX-512 VNNI";
  }
};

TEST_P(Int8Gemm, is_exact_at_every_size_and_stride) {
  common::RandomStream random(7, "gemm");
  const std::int64_t sizes[] = {1, 2, 3, 4, 5, 7, 8, 15, 16, 17, 31, 33, 63, 64, 65, 100, 129};
  for (int i = 0; i < 300; ++i) {
    const std::int64_t m = sizes[random.below(std::size(sizes))], n = sizes[random.below(std::size(sizes))],
                       k = sizes[random.below(std::size(sizes))];
    const std::int64_t lda = k + static_cast<std::int64_t>(random.below(4)),
                       ldb = n + static_cast<std::int64_t>(random.below(4)),
                       ldc = n + static_cast<std::int64_t>(random.below(4));
    const auto a = test::random_int8(random, m * lda), b = test::random_int8(random, k * ldb);
    ASSERT_EQ(gemm(GetParam(), m, n, k, a, lda, b, ldb, ldc), plain_product(m, n, k, a, lda, b, ldb, ldc))
        << m << "x" << k << "x" << n;
  }
}

TEST_P(Int8Gemm, is_exact_where_sixteen_bits_saturate) {
  const std::int8_t extremes[] = {-128, -127, 127};
  for (const std::int8_t x : extremes)
    for (const std::int8_t y : extremes)
      for (const std::int64_t k : {1, 2, 5, 64, 257, 784}) {
        const std::vector<std::int8_t> a(static_cast<std::size_t>(33 * k), x),
            b(static_cast<std::size_t>(k * 50), y);
        ASSERT_EQ(gemm(GetParam(), 33, 50, k, a, k, b, 50, 50), plain_product(33, 50, k, a, k, b, 50, 50))
            << int{x} << " " << int{y} << " k " << k;
      }
}

TEST_P(Int8Gemm, wraps_at_thirty_two_bits) {
  constexpr std::int64_t kLong = 140001;  // 140001 · 16384 > 2^31
  for (const std::int8_t y : {std::int8_t{-128}, std::int8_t{127}}) {
    const std::vector<std::int8_t> a(2 * kLong, -128), b(kLong * 3, y);
    const auto want = plain_product(2, 3, kLong, a, kLong, b, 3, 3);
    ASSERT_NE(want[0]<0, y> 0);  // it did wrap: the sign is the wrong one
    ASSERT_EQ(gemm(GetParam(), 2, 3, kLong, a, kLong, b, 3, 3), want);
  }
}

INSTANTIATE_TEST_SUITE_P(kernels, Int8Gemm,
                         testing::Values(array::Isa::portable, array::Isa::avx2, array::Isa::avx512),
                         [](const auto& p) { return array::to_string(p.param); });

TEST(IsaChoice, is_the_environments_or_the_widest) {
  const array::Isa widest = array::choose_isa();
  setenv("KINTSUGI_ISA", "portable", 1);
  EXPECT_EQ(array::choose_isa(), array::Isa::portable);
  setenv("KINTSUGI_ISA", "avx2", 1);
  EXPECT_EQ(array::choose_isa(), array::Isa::avx2);
  setenv("KINTSUGI_ISA", "sse", 1);
  EXPECT_THROW(array::choose_isa(), common::InputError);
  setenv("KINTSUGI_ISA", "", 1);
  EXPECT_EQ(array::choose_isa(),
            __builtin_cpu_supports("avx512vnni") ? array::Isa::avx512 : array::Isa::avx2);
  unsetenv("KINTSUGI_ISA");
  EXPECT_GE(widest, array::Isa::portable);
}

// Every bit counts, at every place and length, and so does the order.
TEST(Fingerprint, changes_with_any_bit) {
  common::RandomStream random(3, "fingerprint");
  for (const std::size_t size : {1, 7, 64, 127, 128, 129, 300, 1000}) {
    auto bytes = test::random_int8(random, static_cast<std::int64_t>(size));
    const auto before = array::fingerprint(bytes.data(), size);
    EXPECT_EQ(array::fingerprint(bytes.data(), size), before);
    for (std::size_t i = 0; i < size * 8; ++i) {
      bytes[i / 8] = static_cast<std::int8_t>(bytes[i / 8] ^ 1 << i % 8);
      ASSERT_NE(array::fingerprint(bytes.data(), size), before) << size << " " << i;
      bytes[i / 8] = static_cast<std::int8_t>(bytes[i / 8] ^ 1 << i % 8);
    }
    bytes.push_back(0);
    EXPECT_NE(array::fingerprint(bytes.data(), size + 1), before);
  }
  std::vector<std::int8_t> two(256, 0);
  two[3] = 1;
  const auto first = array::fingerprint(two.data(), 256);
  std::swap(two[3], two[131]);
  EXPECT_NE(array::fingerprint(two.data(), 256), first);
}

// --- Tiling ---

std::vector<std::pair<std::int64_t, std::int64_t>> pairs(const std::vector<array::Range>& ranges) {
  std::vector<std::pair<std::int64_t, std::int64_t>> result;
  for (const array::Range& r : ranges) result.emplace_back(r.begin, r.count);
  return result;
}

TEST(Tiling, cuts_full_pieces_first) {
  using Pairs = std::vector<std::pair<std::int64_t, std::int64_t>>;
  const auto t =
      array::make_tiling(array::gemm_shape(10, 7, 9), 3, 4, configs::ConvolutionMapping::im2col, 4);
  EXPECT_EQ(pairs(t.k_tiles), (Pairs{{0, 3}, {3, 3}, {6, 1}}));
  EXPECT_EQ(pairs(t.n_tiles), (Pairs{{0, 4}, {4, 4}, {8, 1}}));
  EXPECT_EQ(pairs(t.m_chunks), (Pairs{{0, 4}, {4, 4}, {8, 2}}));
  EXPECT_EQ(t.tiles(), 27);
  const auto whole =
      array::make_tiling(array::gemm_shape(10, 7, 9), 16, 16, configs::ConvolutionMapping::im2col);
  EXPECT_EQ(whole.tiles(), 1);
}

TEST(Tiling, channel_mapping_stays_within_a_kernel_position) {
  using Pairs = std::vector<std::pair<std::int64_t, std::int64_t>>;
  array::LayerShape s;
  s.in_h = s.in_w = 4;
  s.in_c = 10;
  s.groups = 2;
  s.kernel_h = 1;
  s.kernel_w = 2;
  s.out_c = 2;
  EXPECT_EQ(pairs(array::make_tiling(s, 3, 4, configs::ConvolutionMapping::channel).k_tiles),
            (Pairs{{0, 3}, {3, 2}, {5, 3}, {8, 2}}));
  EXPECT_EQ(pairs(array::make_tiling(s, 3, 4, configs::ConvolutionMapping::im2col).k_tiles),
            (Pairs{{0, 3}, {3, 3}, {6, 3}, {9, 1}}));
}

// --- Schedule ---

TEST(Schedule, map_and_inverse_agree) {
  for (std::int64_t m = 0; m < 5; ++m)
    for (std::int64_t r = 0; r < 3; ++r)
      for (std::int64_t c = 0; c < 4; ++c)
        EXPECT_EQ(array::stream_position(array::compute_cycle(m, r, c), r, c, 5), m);
  EXPECT_FALSE(array::stream_position(2, 1, 2, 5));
  EXPECT_FALSE(array::stream_position(8, 1, 2, 5));
}

// The law of docs/timing, by a small event simulation: loads and streams of tiles, each at its earliest time.
std::int64_t simulated_chain(const std::vector<std::int64_t>& m, std::int64_t R, std::int64_t C,
                             bool doubled) {
  std::int64_t load_end = 0, stream_begin = 0, end = 0;
  for (std::size_t i = 0; i < m.size(); ++i) {
    // Double-buffered: a load starts with the stream before it; otherwise when the array has drained.
    const std::int64_t load_begin = i == 0 ? 0 : doubled ? stream_begin : end;
    load_end = load_begin + R;
    const std::int64_t free = i == 0 ? 0 : doubled ? stream_begin + m[i - 1] : end;
    stream_begin = std::max(load_end, free);
    end = stream_begin + m[i] + R + C - 2;
  }
  return end;
}

TEST(Schedule, chains_follow_the_closed_form) {
  common::RandomStream random(3, "chains");
  for (int i = 0; i < 200; ++i) {
    std::vector<std::int64_t> m(1 + random.below(6));
    array::Tiling tiling{{{0, 1}}, {{0, 1}}, {}};
    for (auto& x : m) {
      x = 1 + static_cast<std::int64_t>(random.below(20));
      tiling.m_chunks.push_back({0, x});
    }
    const auto R = 1 + static_cast<std::int64_t>(random.below(12)),
               C = 1 + static_cast<std::int64_t>(random.below(12));
    for (const bool doubled : {false, true}) {
      const array::CycleBreakdown counts = array::ideal_breakdown({}, tiling, R, C, doubled);
      ASSERT_EQ(counts.total(), simulated_chain(m, R, C, doubled));
      ASSERT_EQ(counts.active, std::accumulate(m.begin(), m.end(), std::int64_t{0}));
      ASSERT_EQ(counts.pipeline, (doubled ? 1 : std::ssize(m)) * (R + C - 2));
      ASSERT_EQ(counts.stalls(), 0);
    }
  }
  EXPECT_EQ(array::ideal_breakdown({}, {}, 4, 4, true).total(), 0);
}

TEST(Schedule, a_layer_is_the_chain_of_its_tiles) {
  common::RandomStream random(4, "layers");
  for (std::uint64_t i = 0; i < 100; ++i) {
    const test::RandomCase c = test::random_case(i, 16);
    const auto entries = static_cast<std::int64_t>(random.below(6));
    const auto tiling = array::make_tiling(c.shape, c.array.rows, c.array.cols, c.mapping, entries);
    std::vector<std::int64_t> m;
    for (std::int64_t g = 0; g < c.shape.groups; ++g)
      for (std::size_t n = 0; n < tiling.n_tiles.size(); ++n)
        for (const array::Range& chunk : tiling.m_chunks)
          m.insert(m.end(), tiling.k_tiles.size(), chunk.count);
    for (const bool doubled : {false, true})
      ASSERT_EQ(array::ideal_breakdown(c.shape, tiling, c.array.rows, c.array.cols, doubled).total(),
                simulated_chain(m, c.array.rows, c.array.cols, doubled))
          << c.text;
  }
}

TEST(Schedule, a_layer_costs_what_scale_sim_says) {
  // ceil(K/R)·ceil(N/C)·(2R + C + M − 2)
  const auto shape = array::gemm_shape(100, 784, 300);
  const auto tiling = array::make_tiling(shape, 256, 128, configs::ConvolutionMapping::im2col);
  EXPECT_EQ(array::ideal_breakdown(shape, tiling, 256, 128, false).total(),
            4 * 3 * (2 * 256 + 128 + 100 - 2));
}

// --- Requantisation ---

// With the instructions of this machine, and with those that every machine has.
class Requantize : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(instructions, Requantize, testing::Values("", "avx2", "portable"),
                         [](const auto& p) { return *p.param == 0 ? "widest" : p.param; });

TEST_P(Requantize, tables_equal_the_definition) {
  setenv("KINTSUGI_ISA", GetParam(), 1);
  common::RandomStream random(5, "requantize");
  for (const std::size_t channels : {1, 3, 8, 17, 64}) {
    std::vector<array::Requantization> table(channels);
    for (auto& r : table) {
      r.multiplier = static_cast<std::int32_t>(random.next());
      r.shift = 1 + static_cast<std::int32_t>(random.below(62));
      r.offset = static_cast<std::int64_t>(random.next()) >> 4;
    }
    std::vector<std::int32_t> acc(channels * 9);
    for (auto& x : acc) x = static_cast<std::int32_t>(random.next()) >> random.below(32);
    std::vector<std::int8_t> out(acc.size());
    for (const bool relu : {false, true}) {
      array::requantize(acc, table, relu, out);
      for (std::size_t i = 0; i < acc.size(); ++i) {
        const array::Requantization& r = table[i % channels];
        const __int128 sum = static_cast<__int128>(acc[i]) * r.multiplier + r.offset;
        // Floor division, independent of shifts of negative numbers.
        const __int128 divisor = static_cast<__int128>(1) << r.shift;
        __int128 q = sum / divisor;
        if (sum % divisor != 0 && sum < 0) --q;
        const __int128 low = relu ? 0 : -127;
        ASSERT_EQ(int{out[i]}, static_cast<int>(q < low ? low : q > 127 ? 127 : q));
        ASSERT_EQ(out[i], array::requantize(acc[i], r, relu));
      }
    }
  }
  unsetenv("KINTSUGI_ISA");
}

TEST(RequantizeSizes, refuses_sizes_that_do_not_fit) {
  std::vector<std::int32_t> acc(5);
  std::vector<array::Requantization> table(2);
  std::vector<std::int8_t> out(5);
  EXPECT_THROW(array::requantize(acc, table, false, out), std::invalid_argument);
}

}  // namespace
}  // namespace kintsugi

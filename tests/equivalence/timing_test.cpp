// When results come, seen from outside the clocked arrays: at T−1 cycles the last one is not there, at T it
// is. The numbers are worked out by hand (docs/timing.md), not taken from array/schedule.h, which is held
// against them too.
#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <ostream>
#include <string>

#include "array/cycle_array.h"
#include "array/schedule.h"
#include "tests/equivalence/clocked_bench.h"
#include "tests/support/in_child.h"

namespace kintsugi {
namespace {

struct TimingCase {
  int rows, cols;
  std::int64_t m, k, n;
  bool double_buffer;
  std::int64_t cycles;
};

void PrintTo(const TimingCase& t, std::ostream* out) {
  *out << t.rows << "x" << t.cols << ", M " << t.m << ", K " << t.k << ", N " << t.n
       << (t.double_buffer ? ", double-buffered" : ", single-buffered");
}

configs::ArrayConfig chip_of(const TimingCase& t) {
  configs::ArrayConfig chip;
  chip.rows = t.rows;
  chip.cols = t.cols;
  chip.weight_double_buffer = t.double_buffer;
  return chip;
}

// With all operands 1 every result is K, and what a k-tile has not yet brought is missing from it.
struct Ones {
  explicit Ones(const array::LayerShape& s)
      : shape(s),
        activations(s.activation_bytes(), 1),
        weights(s.weight_bytes(), 1),
        results(s.outputs(), -1) {}
  array::LayerJob job() { return {shape, activations.data(), weights.data(), results.data()}; }
  array::LayerShape shape;
  std::vector<std::int8_t> activations, weights;
  std::vector<std::int32_t> results;
};

class Timing : public ::testing::TestWithParam<TimingCase> {};

TEST_P(Timing, last_result_is_not_there_a_cycle_before) {
  const TimingCase t = GetParam();
  test::in_child([t] {
    test::ClockedBench bench("bench", chip_of(t), configs::ConvolutionMapping::im2col, true, true);
    bench.run([&] {
      for (std::size_t i = 0; i < bench.arrays(); ++i) {
        SCOPED_TRACE(bench.array(i).basename());
        Ones ones(array::gemm_shape(t.m, t.k, t.n));
        bench.start(i, ones.job());
        for (std::int64_t cycle = 0; cycle < t.cycles - 1; ++cycle) bench.tick();
        EXPECT_FALSE(bench.array(i).done());
        // Where the last column is in use, its result is the last; else the sequencer still waits for it.
        if (t.n % t.cols == 0) {
          EXPECT_LT(ones.results.back(), t.k);
        }
        bench.tick();
        EXPECT_TRUE(bench.array(i).done());
        EXPECT_TRUE(std::all_of(ones.results.begin(), ones.results.end(), [&](auto v) { return v == t.k; }));
      }
    });
    return std::string();
  });
  const array::LayerShape shape = array::gemm_shape(t.m, t.k, t.n);
  const array::Tiling tiling = array::make_tiling(shape, t.rows, t.cols, configs::ConvolutionMapping::im2col);
  EXPECT_EQ(array::ideal_breakdown(shape, tiling, t.rows, t.cols, t.double_buffer).total(), t.cycles);
}

INSTANTIATE_TEST_SUITE_P(
    SingleTiles, Timing,
    ::testing::Values(TimingCase{3, 2, 2, 3, 2, true, 8}, TimingCase{3, 2, 2, 3, 2, false, 8},
                      TimingCase{3, 2, 2, 2, 1, true, 8},  // spare rows and columns take their time
                      TimingCase{1, 1, 1, 1, 1, true, 2}, TimingCase{1, 1, 1, 1, 1, false, 2},
                      TimingCase{1, 4, 3, 1, 4, true, 7}, TimingCase{4, 1, 3, 4, 1, false, 10},
                      TimingCase{8, 8, 1, 8, 8, true, 23}));

INSTANTIATE_TEST_SUITE_P(
    Chains, Timing,
    ::testing::Values(TimingCase{3, 2, 2, 6, 2, true, 11},   // M < R: the second load is in the open
                      TimingCase{3, 2, 2, 6, 2, false, 16},  //
                      TimingCase{3, 2, 5, 9, 2, true, 21},   // M > R: loads hide behind streams
                      TimingCase{3, 2, 5, 9, 2, false, 33},  //
                      TimingCase{3, 2, 3, 6, 2, true, 12},   // M = R
                      TimingCase{3, 2, 2, 3, 4, true, 11},   // two n-tiles
                      TimingCase{3, 2, 2, 3, 3, true, 11},   // the second half empty
                      TimingCase{1, 1, 1, 3, 1, true, 4}, TimingCase{1, 1, 1, 3, 1, false, 6},
                      TimingCase{4, 1, 1, 8, 1, true, 12}, TimingCase{4, 1, 1, 8, 1, false, 16},
                      TimingCase{2, 2, 3, 4, 3, true, 16}, TimingCase{2, 2, 3, 4, 3, false, 28},
                      TimingCase{2, 7, 1, 10, 7, true, 18}, TimingCase{2, 7, 1, 10, 7, false, 50}));

// The number of clock edges after which each result first had the value `wanted`, row-major (m, n).
std::vector<std::int64_t> arrivals(test::ClockedBench& bench, std::size_t i, const array::LayerShape& shape,
                                   std::vector<std::int32_t> wanted) {
  Ones ones(shape);
  std::vector<std::int64_t> edges(ones.results.size() * wanted.size(), -1);
  bench.start(i, ones.job());
  for (std::int64_t edge = 1; !bench.array(i).done() && edge < 1000; ++edge) {
    bench.tick();
    for (std::size_t w = 0; w < wanted.size(); ++w)
      for (std::size_t at = 0; at < ones.results.size(); ++at)
        if (std::int64_t& seen = edges[w * ones.results.size() + at];
            seen < 0 && ones.results[at] == wanted[w])
          seen = edge;
  }
  return edges;
}

// The worked example of docs/timing.md: a 3×2 array, two positions, K = 6 in two tiles.
TEST(Timing, every_result_of_the_worked_example) {
  for (const bool double_buffer : {true, false})
    test::in_child([double_buffer] {
      const configs::ArrayConfig chip = chip_of({3, 2, 0, 0, 0, double_buffer, 0});
      test::ClockedBench bench("bench", chip, configs::ConvolutionMapping::im2col, true, true);
      bench.run([&] {
        const std::vector<std::int64_t> expected =
            double_buffer ? std::vector<std::int64_t>{6, 7, 7, 8, 9, 10, 10, 11}
                          : std::vector<std::int64_t>{6, 7, 7, 8, 14, 15, 15, 16};
        for (std::size_t i = 0; i < bench.arrays(); ++i)
          EXPECT_EQ(arrivals(bench, i, array::gemm_shape(2, 6, 2), {3, 6}), expected)
              << bench.array(i).basename();
      });
      return std::string();
    });
}

// Each result is in one cycle after the last row handles it, by the schedule's map (m, r, c) -> cycle.
TEST(Timing, every_result_comes_when_the_schedule_says) {
  test::in_child([] {
    const TimingCase t{5, 4, 7, 5, 4, true, 0};
    test::ClockedBench bench("bench", chip_of(t), configs::ConvolutionMapping::im2col, true, true);
    bench.run([&] {
      for (std::size_t i = 0; i < bench.arrays(); ++i) {
        const auto found = arrivals(bench, i, array::gemm_shape(t.m, t.k, t.n), {5});
        for (std::int64_t m = 0; m < t.m; ++m)
          for (std::int64_t c = 0; c < t.cols; ++c) {
            const std::int64_t cycle = found[m * t.cols + c] - 1 - t.rows;
            EXPECT_EQ(cycle, array::compute_cycle(m, t.rows - 1, c)) << bench.array(i).basename();
            EXPECT_EQ(array::stream_position(cycle, t.rows - 1, c, t.m), std::optional<std::int64_t>(m));
          }
      }
    });
    return std::string();
  });
}

// SCALE-Sim's cycles (plus the one by which it counts less) for single-buffered weights on 256×256.
TEST(Timing, scale_sim_layers_on_the_stepped_array) {
  struct Layer {
    std::int64_t m, k, n, cycles;
  };
  const Layer layers[] = {{100, 256, 256, 866},    {100, 300, 300, 3464},   {1000, 512, 512, 7064},
                          {3025, 363, 96, 7582},   {529, 2400, 256, 12950}, {121, 2304, 384, 15966},
                          {121, 3456, 384, 24836}, {121, 3456, 256, 12418}};
  configs::ArrayConfig chip;
  chip.weight_double_buffer = false;
  array::CycleMachine machine(chip);
  for (const Layer& layer : layers) {
    Ones ones(array::gemm_shape(layer.m, layer.k, layer.n));
    const array::LayerJob job = ones.job();
    machine.start(job,
                  array::make_tiling(job.shape, chip.rows, chip.cols, configs::ConvolutionMapping::im2col),
                  nullptr);
    while (machine.cycles() < layer.cycles - 1) machine.step();
    EXPECT_FALSE(machine.done());
    machine.step();
    EXPECT_TRUE(machine.done()) << layer.m << "x" << layer.k << "x" << layer.n;
    EXPECT_TRUE(std::all_of(ones.results.begin(), ones.results.end(), [&](auto v) { return v == layer.k; }));
  }
}

// What a caller must not do is refused, and harms nothing.
TEST(Timing, misuse_is_refused) {
  test::in_child([] {
    const TimingCase t{2, 2, 2, 2, 2, true, 0};
    test::ClockedBench bench("bench", chip_of(t), configs::ConvolutionMapping::im2col, true, true);
    bench.run([&] {
      for (std::size_t i = 0; i < bench.arrays(); ++i) {
        Ones ones(array::gemm_shape(t.m, t.k, t.n)), other(ones.shape);
        EXPECT_THROW(bench.array(i).load_faults(faults::fault_free(2, 3)), std::invalid_argument);
        bench.start(i, ones.job());
        EXPECT_THROW(bench.start(i, other.job()), std::logic_error);
        EXPECT_THROW(bench.array(i).load_faults(faults::fault_free(2, 2)), std::logic_error);
        while (!bench.array(i).done()) bench.tick();
        EXPECT_EQ(ones.results, std::vector<std::int32_t>(4, 2));
        EXPECT_EQ(other.results, std::vector<std::int32_t>(4, -1));
      }
    });
    return std::string();
  });
}

}  // namespace
}  // namespace kintsugi

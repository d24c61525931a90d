// TE-Drop on a 3x3 array, worked by hand: what every PE's psum register holds after every cycle, and what the
// functional engine makes of it.
#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <utility>

#include "array/functional_engine.h"
#include "tests/equivalence/clocked_bench.h"
#include "tests/support/in_child.h"

namespace kintsugi {
namespace {

using array::TimedJob;

// Late by bit 4 whenever the activation becomes 2.
class LateTwos final : public faults::TimingModel {
 public:
  void evaluate(int, std::uint64_t, const faults::PeCycles& cycles, std::uint32_t* errors) const override {
    for (std::size_t i = 0; i < cycles.count; ++i)
      errors[i] = cycles.activation[i] == 2 && cycles.activation_before[i] != 2 ? 16 : 0;
  }
  int accumulator_bits() const override { return 32; }
};

// Three positions, weights 1 … 9. At risk: column 0, and PE (0, 1).
struct Example {
  configs::ArrayConfig array;
  array::LayerShape shape = array::gemm_shape(3, 3, 3);
  std::int8_t activations[9] = {1, 1, 1, 2, 1, 1, 1, 2, 2};
  std::int8_t weights[9] = {1, 2, 3, 4, 5, 6, 7, 8, 9};
  faults::ArrayFaults faults = faults::fault_free(3, 3);
  std::shared_ptr<faults::ChipTiming> timing = std::make_shared<faults::ChipTiming>();

  explicit Example(faults::Mitigation mitigation) {
    array.rows = array.cols = 3;
    timing->rows = timing->cols = 3;
    timing->at_risk = {{0, 0, 0}, {0, 1, 0}, {1, 0, 0}, {2, 0, 0}};
    timing->model = std::make_shared<LateTwos>();
    timing->mitigation = mitigation;
  }
};

using Results = std::vector<std::int32_t>;
// (row, column, cycles done) -> psum register.
using Registers = std::map<std::tuple<int, int, int>, std::int32_t>;

struct Expected {
  Results results;
  Registers registers;
  std::vector<std::int64_t> late_words;
  std::int64_t dropped = 0;
};

void check(const Example& e, const Expected& expected) {
  Results results(9);
  const array::LayerJob given{e.shape, e.activations, e.weights, results.data()};
  const array::Tiling tiling = array::make_tiling(e.shape, 3, 3, configs::ConvolutionMapping::im2col);
  {
    array::FunctionalEngine engine(e.array, configs::ConvolutionMapping::im2col);
    engine.load_faults(e.faults);
    TimedJob job(e.timing, e.array, given, tiling);
    engine.run(job);
    EXPECT_EQ(results, expected.results);
    EXPECT_EQ(job.late_words, expected.late_words);
    EXPECT_EQ(job.counts.dropped_products, expected.dropped);
  }
  test::in_child([&] {
    test::ClockedBench bench("bench", e.array, configs::ConvolutionMapping::im2col, true, true);
    bench.run([&] {
      for (std::size_t i = 0; i < bench.arrays(); ++i) {
        array::ClockedArray& clocked = bench.array(i);
        SCOPED_TRACE(clocked.basename());
        clocked.make_observable();
        clocked.load_faults(e.faults);
        TimedJob job(e.timing, e.array, given, tiling);
        clocked.start(given, tiling, nullptr, sc_core::sc_time(2, sc_core::SC_NS), &job);
        std::size_t seen = 0;
        for (int cycle = 1; !clocked.done(); ++cycle) {
          bench.tick();
          for (int r = 0; r < 3; ++r)
            for (int c = 0; c < 3; ++c) {
              const auto found = expected.registers.find({r, c, cycle});
              if (found == expected.registers.end()) continue;
              ++seen;
              EXPECT_TRUE(clocked.registers(r, c).valid);
              EXPECT_EQ(clocked.registers(r, c).psum, found->second)
                  << "PE (" << r << ", " << c << ") after " << cycle << " cycles";
            }
        }
        EXPECT_EQ(seen, expected.registers.size());
        EXPECT_EQ(results, expected.results);
        EXPECT_EQ(job.late_words, expected.late_words);
        EXPECT_EQ(job.counts.dropped_products, expected.dropped);
      }
    });
    return std::string();
  });
}

// The load takes three cycles; PE (r, c) shows position m after 4 + m + r + c.
TEST(TeDrop, without_it_errors_travel) {
  Expected expected;
  // m = 1: 2 becomes 18, + 4 + 7; 4 becomes 20, + 5 + 8. m = 2: 1 + 8 becomes 25, 25 + 14 = 39 becomes 55.
  expected.results = {12, 15, 18, 29, 33, 21, 55, 28, 33};
  expected.registers = {{{0, 0, 4}, 1},  {{0, 0, 5}, 18}, {{0, 0, 6}, 1},  {{1, 0, 5}, 5},  {{1, 0, 6}, 22},
                        {{1, 0, 7}, 25}, {{2, 0, 6}, 12}, {{2, 0, 7}, 29}, {{2, 0, 8}, 55}, {{0, 1, 5}, 2},
                        {{0, 1, 6}, 20}, {{0, 1, 7}, 2},  {{1, 1, 7}, 25}, {{2, 1, 8}, 33}, {{2, 1, 9}, 28}};
  expected.late_words = {1, 1, 1, 1};
  check(Example(faults::Mitigation::none), expected);
}

TEST(TeDrop, the_right_value_goes_on_and_the_pe_below_drops_its_product) {
  Expected expected;
  // m = 1: PE (0, 0) is late, 2 goes on, PE (1, 0) drops its 4: 2, + 7; PE (0, 1) is late, 4 goes on, PE (1,
  // 1), never late itself, drops its 5: 4, + 8. m = 2: PE (1, 0) is late, 1 + 8 goes on, PE (2, 0) drops its
  // 14 and is not late, although its activation becomes 2.
  expected.results = {12, 15, 18, 9, 12, 21, 9, 28, 33};
  expected.registers = {{{0, 0, 4}, 1},  {{0, 0, 5}, 2},  {{0, 0, 6}, 1}, {{1, 0, 5}, 5}, {{1, 0, 6}, 2},
                        {{1, 0, 7}, 9},  {{2, 0, 6}, 12}, {{2, 0, 7}, 9}, {{2, 0, 8}, 9}, {{0, 1, 5}, 2},
                        {{0, 1, 6}, 4},  {{0, 1, 7}, 2},  {{1, 1, 6}, 7}, {{1, 1, 7}, 4}, {{1, 1, 8}, 12},
                        {{2, 1, 7}, 15}, {{2, 1, 8}, 12}, {{2, 1, 9}, 28}};
  expected.late_words = {1, 1, 1, 0};
  expected.dropped = 3;
  check(Example(faults::Mitigation::te_drop), expected);
}

TEST(TeDrop, a_bypassed_pe_below_has_no_product_to_drop) {
  Example example(faults::Mitigation::te_drop);
  example.faults.bypass[3] = 1;  // PE (1, 0)
  Expected expected;
  // Column 0: 1 + 7, 2 + 7, 1 + 14: PE (2, 0) is late in the last one, and below it nothing drops.
  expected.results = {8, 15, 18, 9, 12, 21, 15, 28, 33};
  expected.registers = {{{1, 0, 5}, 1}, {{1, 0, 6}, 2}, {{1, 0, 7}, 1},
                        {{2, 0, 6}, 8}, {{2, 0, 7}, 9}, {{2, 0, 8}, 15}};
  expected.late_words = {1, 1, 0, 1};
  expected.dropped = 1;
  check(example, expected);
}

// The model must see what is not an error: PE (1, 0)'s stuck adder acts on the right sum, and the psum
// register's stuck bit on what was captured.
TEST(TeDrop, errors_come_between_the_adder_and_the_psum_register) {
  Example example(faults::Mitigation::none);
  faults::FaultyPe faulty{0, 0, {}};
  faulty.hooks[pe::Site::adder].stick(5, 1);          // 32
  faulty.hooks[pe::Site::psum_register].stick(4, 0);  // hides the late bit
  example.faults.faulty.push_back(faulty);
  Expected expected;
  // m = 0: 1 becomes 33. m = 1: 2 -> 34, late 50, the register holds 34. m = 2: 33, + 8 = 41 late 57, + 14 =
  // 71 late 87.
  expected.results = {44, 15, 18, 45, 33, 21, 87, 28, 33};
  expected.registers = {{{0, 0, 4}, 33}, {{0, 0, 5}, 34}, {{0, 0, 6}, 33}, {{1, 0, 7}, 57}};
  expected.late_words = {1, 1, 1, 1};
  check(example, expected);
}

}  // namespace
}  // namespace kintsugi

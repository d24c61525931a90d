// Every PE of a 256×256 array as a module, for one short tile. Slow: 65,536 processes a cycle.
#include <gtest/gtest.h>

#include "tests/equivalence/clocked_bench.h"
#include "tests/support/in_child.h"
#include "tests/support/naive_array.h"
#include "tests/support/random_cases.h"

namespace kintsugi {
namespace {

// in_child leaves without destructors: taking 65,536 modules apart takes longer than the test.
TEST(LargePeArray, one_short_tile) {
  test::in_child([] {
    common::RandomStream random(1, "large-pe-array");
    const configs::ArrayConfig chip;
    const auto mapping = configs::ConvolutionMapping::im2col;
    const array::LayerShape shape = array::gemm_shape(3, 250, 253);
    const faults::ArrayFaults faults = test::random_faults(random, chip.rows, chip.cols, 0.01,
                                                           test::all_sites(), test::BypassKind::partial, 32);
    const auto activations = test::random_int8(random, shape.activation_bytes());
    const auto weights = test::random_int8(random, shape.weight_bytes());
    auto& bench = *new test::ClockedBench("bench", chip, mapping, true, true);
    bench.run([&] {
      std::vector<std::vector<std::int32_t>> found;
      for (std::size_t i = 0; i < 2; ++i) bench.array(i).load_faults(faults);
      const auto edges = bench.run_job({shape, activations.data(), weights.data(), nullptr}, found, 800);
      const auto expected =
          test::naive_array(chip, mapping, faults, shape, activations.data(), weights.data());
      for (std::size_t i = 0; i < 2; ++i) {
        EXPECT_EQ(edges[i], 256 + 3 + 256 + 256 - 2);
        EXPECT_TRUE(found[i] == expected) << bench.array(i).basename();
      }
    });
    return std::string();
  });
}

}  // namespace
}  // namespace kintsugi

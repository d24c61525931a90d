// The array of the real size, 256×256: functional, cycle and the naive loop.
#include <gtest/gtest.h>

#include "array/cycle_array.h"
#include "array/functional_engine.h"
#include "array/schedule.h"
#include "common/thread_pool.h"
#include "tests/support/naive_array.h"
#include "tests/support/random_cases.h"

namespace kintsugi {
namespace {

array::LayerShape wide_convolution() {
  array::LayerShape s;
  s.batch = 2;
  s.in_h = 9;
  s.in_w = 8;
  s.in_c = 70;
  s.kernel_h = s.kernel_w = 3;
  s.padding = 1;
  s.stride = 2;
  s.out_c = 300;
  return s;
}

void expect_agreement(std::uint64_t seed, double rate, test::BypassKind bypass,
                      const array::LayerShape& shape, configs::ConvolutionMapping mapping) {
  SCOPED_TRACE(seed);
  common::RandomStream random(seed, "large-array");
  configs::ArrayConfig chip;  // 256×256, 32 bits, double-buffered
  const faults::ArrayFaults faults =
      test::random_faults(random, chip.rows, chip.cols, rate, test::all_sites(), bypass, 32);
  const auto activations = test::random_int8(random, shape.activation_bytes());
  const auto weights = test::random_int8(random, shape.weight_bytes());
  std::vector<std::int32_t> functional(static_cast<std::size_t>(shape.outputs())), cycle(functional);

  common::ThreadPool pool(1);
  array::FunctionalEngine engine(chip, mapping, &pool);
  engine.load_faults(faults);
  engine.run({shape, activations.data(), weights.data(), functional.data()});
  const array::Tiling tiling = array::make_tiling(shape, chip.rows, chip.cols, mapping);
  const std::int64_t cycles =
      array::ideal_breakdown(shape, tiling, chip.rows, chip.cols, chip.weight_double_buffer).total();

  array::CycleMachine machine(chip);
  machine.load_faults(faults);
  machine.start({shape, activations.data(), weights.data(), cycle.data()}, tiling, nullptr);
  while (!machine.done() && machine.cycles() <= cycles) machine.step();
  EXPECT_EQ(machine.cycles(), cycles);
  EXPECT_TRUE(machine.done());
  EXPECT_TRUE(functional == cycle) << "functional and cycle differ";
  EXPECT_TRUE(cycle == test::naive_array(chip, mapping, faults, shape, activations.data(), weights.data()))
      << "cycle and the naive loop differ";
}

TEST(LargeArray, one_percent_faulty) {
  expect_agreement(1, 0.01, test::BypassKind::none, array::gemm_shape(300, 300, 270),
                   configs::ConvolutionMapping::im2col);
  expect_agreement(2, 0.01, test::BypassKind::all, array::gemm_shape(40, 513, 256),
                   configs::ConvolutionMapping::im2col);
  expect_agreement(3, 0.01, test::BypassKind::partial, wide_convolution(),
                   configs::ConvolutionMapping::channel);
}

TEST(LargeArray, ten_percent_faulty) {
  expect_agreement(4, 0.1, test::BypassKind::none, array::gemm_shape(120, 300, 200),
                   configs::ConvolutionMapping::im2col);
  expect_agreement(5, 0.1, test::BypassKind::false_alarms, array::gemm_shape(260, 256, 257),
                   configs::ConvolutionMapping::im2col);
  expect_agreement(6, 0.1, test::BypassKind::partial, wide_convolution(),
                   configs::ConvolutionMapping::im2col);
}

}  // namespace
}  // namespace kintsugi

// Every kernel of the cycle fidelity, on arrays of strips and parts of strips, against the naive loop; and
// PEs that are stepped ahead of the sequencer against PEs that are not, cycle by cycle, under a memory system
// that stalls at random.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "array/cycle_array.h"
#include "array/schedule.h"
#include "tests/support/naive_array.h"
#include "tests/support/random_cases.h"

namespace kintsugi {
namespace {

struct Named {
  const char* name;
  array::CycleKernel kernel;
};

std::vector<Named> kernels() {
  std::vector<Named> found = {{"portable", array::cycle_kernel_portable()},
                              {"avx2", array::cycle_kernel_avx2()}};
  if (__builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq"))
    found.push_back({"avx512", array::cycle_kernel_avx512()});
  return found;
}

// Lets a load or a stream wait now and then; what it says depends on the tile and on how often it was asked.
class RandomGate : public array::TileGate {
 public:
  explicit RandomGate(std::uint64_t seed) : random_(seed, "random-gate") {}
  bool may_load(std::int64_t) override { return random_.below(6) == 0; }
  Wait may_stream(std::int64_t) override {
    const std::uint64_t x = random_.below(9);
    return x < 3 ? Wait::none : x < 6 ? Wait::activations : Wait::accumulators;
  }
  void load_begun(std::int64_t tile) override { note('l', tile); }
  void load_ended(std::int64_t tile) override { note('L', tile); }
  void stream_begun(std::int64_t tile) override { note('s', tile); }
  void stream_fed(std::int64_t tile) override { note('S', tile); }
  void stream_out(std::int64_t tile) override { note('O', tile); }
  // What was heard since the last call.
  std::string heard() { return std::exchange(heard_, {}); }

 private:
  void note(char what, std::int64_t tile) { heard_ += what + std::to_string(tile) + ' '; }
  common::RandomStream random_;
  std::string heard_;
};

// As test::random_case, on arrays that have several strips, and rows enough to look ahead.
test::RandomCase wide_case(std::uint64_t number) {
  test::RandomCase c = test::random_case(number);
  common::RandomStream random(number, "wide-case");
  const auto between = [&](int low, int high) {
    return low + static_cast<int>(random.below(static_cast<std::uint64_t>(high - low + 1)));
  };
  c.array.rows = between(6, 80);
  c.array.cols = between(1, 110);
  if (random.below(2) == 0)
    c.shape = array::gemm_shape(random.below(2) == 0 ? between(1, 30) : between(60, 400),
                                between(1, 2 * c.array.rows), between(1, 2 * c.array.cols));
  const double rates[] = {0, 0.005, 0.05, 0.5};
  const test::BypassKind kinds[] = {test::BypassKind::none, test::BypassKind::all, test::BypassKind::partial,
                                    test::BypassKind::false_alarms};
  c.faults = test::random_faults(random, c.array.rows, c.array.cols, rates[random.below(4)],
                                 test::all_sites(), kinds[random.below(4)], c.array.accumulator_bits);
  c.activations = test::random_int8(random, c.shape.activation_bytes());
  c.weights = test::random_int8(random, c.shape.weight_bytes());
  c.text += ", on " + std::to_string(c.array.rows) + "x" + std::to_string(c.array.cols);
  return c;
}

TEST(CycleKernels, agree_with_the_naive_loop) {
  for (const Named& named : kernels()) {
    SCOPED_TRACE(named.name);
    for (std::uint64_t number = 0; number < 40; ++number) {
      const test::RandomCase c = wide_case(number);
      SCOPED_TRACE(c.text);
      const array::Tiling tiling = array::make_tiling(c.shape, c.array.rows, c.array.cols, c.mapping);
      array::CycleMachine machine(c.array, named.kernel);
      machine.load_faults(c.faults);
      std::vector<std::int32_t> results(static_cast<std::size_t>(c.shape.outputs()), -1);
      machine.start({c.shape, c.activations.data(), c.weights.data(), results.data()}, tiling, nullptr);
      while (!machine.done()) machine.step();
      const array::CycleBreakdown ideal =
          array::ideal_breakdown(c.shape, tiling, c.array.rows, c.array.cols, c.array.weight_double_buffer);
      EXPECT_EQ(machine.cycles(), ideal.total());
      ASSERT_TRUE(results == test::naive_array(c.array, c.mapping, c.faults, c.shape, c.activations.data(),
                                               c.weights.data()));
    }
  }
}

// An observable machine takes one cycle at a time.
TEST(CycleKernels, looking_ahead_cannot_be_told_from_outside) {
  for (const Named& named : kernels()) {
    SCOPED_TRACE(named.name);
    for (std::uint64_t number = 100; number < 125; ++number) {
      const test::RandomCase c = wide_case(number);
      SCOPED_TRACE(c.text);
      const array::Tiling tiling = array::make_tiling(c.shape, c.array.rows, c.array.cols, c.mapping);
      array::CycleMachine ahead(c.array, named.kernel), literal(c.array, array::cycle_kernel_portable());
      literal.make_observable();
      ahead.load_faults(c.faults);
      literal.load_faults(c.faults);
      // Two jobs in a row: what the first leaves in the registers must not matter.
      for (std::uint64_t job = 0; job < 2; ++job) {
        RandomGate gate(2 * number + job), same_gate(2 * number + job);
        std::vector<std::int32_t> results(static_cast<std::size_t>(c.shape.outputs()), -1), expected(results);
        ahead.start({c.shape, c.activations.data(), c.weights.data(), results.data()}, tiling, &gate);
        literal.start({c.shape, c.activations.data(), c.weights.data(), expected.data()}, tiling, &same_gate);
        while (!literal.done()) {
          ASSERT_FALSE(ahead.done());
          ahead.step();
          literal.step();
          ASSERT_TRUE(results == expected) << "after cycle " << literal.cycles();
          ASSERT_EQ(gate.heard(), same_gate.heard()) << "in cycle " << literal.cycles();
        }
        EXPECT_TRUE(ahead.done());
        EXPECT_EQ(ahead.breakdown(), literal.breakdown());
        ASSERT_TRUE(results == test::naive_array(c.array, c.mapping, c.faults, c.shape, c.activations.data(),
                                                 c.weights.data()));
      }
    }
  }
}

}  // namespace
}  // namespace kintsugi

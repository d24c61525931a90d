// One chip at three fidelities and a naive loop: every bit and every cycle must agree, in random cases.
//
// A failing case prints its number, which fixes it; KINTSUGI_FIRST_CASE moves the whole range of numbers, to
// look further than the suite does.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <string>

#include "array/functional_engine.h"
#include "array/schedule.h"
#include "common/text.h"
#include "common/thread_pool.h"
#include "tests/equivalence/clocked_bench.h"
#include "tests/support/in_child.h"
#include "tests/support/naive_array.h"
#include "tests/support/random_cases.h"

namespace kintsugi {
namespace {

using test::RandomCase;

constexpr int kGroups = 10;
constexpr std::uint64_t kCasesPerGroup = 56;
constexpr std::int64_t kPeStepLimit = 2'000'000;
constexpr std::int64_t kBitStringSteps = 4'000;

std::uint64_t first_case() {
  const char* text = std::getenv("KINTSUGI_FIRST_CASE");
  return text == nullptr ? 20'000 : std::strtoull(text, nullptr, 10);
}

// Random operands rarely meet the ends of their range in many places at once.
void push_to_extremes(RandomCase& c, std::uint64_t number) {
  common::RandomStream random(number, "extremes");
  const auto one_of = [&](std::int8_t a, std::int8_t b) { return random.below(2) == 0 ? a : b; };
  switch (number % 8) {
    case 0:
      std::fill(c.activations.begin(), c.activations.end(), std::int8_t{-128});
      std::fill(c.weights.begin(), c.weights.end(), std::int8_t{-128});
      break;
    case 1:
      for (std::int8_t& value : c.activations) value = one_of(-128, 127);
      for (std::int8_t& value : c.weights) value = one_of(-128, 127);
      break;
    default:
      break;
  }
}

// Another job for the same array: other faults, operands and sizes.
RandomCase next_job(const RandomCase& before, std::uint64_t number) {
  common::RandomStream random(number, "next-job");
  const auto up_to = [&](std::int64_t n) { return 1 + static_cast<std::int64_t>(random.below(n)); };
  RandomCase c = before;
  c.shape = array::gemm_shape(up_to(2 * c.array.rows), up_to(2 * c.array.rows), up_to(2 * c.array.cols));
  c.faults = test::random_faults(random, c.array.rows, c.array.cols, 0.1, test::all_sites(),
                                 test::BypassKind::partial, c.array.accumulator_bits);
  c.activations = test::random_int8(random, c.shape.activation_bytes());
  c.weights = test::random_int8(random, c.shape.weight_bytes());
  c.text += ", second job";
  return c;
}

array::CycleBreakdown closed_form(const RandomCase& c) {
  return array::ideal_breakdown(c.shape, array::make_tiling(c.shape, c.array.rows, c.array.cols, c.mapping),
                                c.array.rows, c.array.cols, c.array.weight_double_buffer);
}

bool pe_is_affordable(const RandomCase& c) {
  const std::int64_t pes = std::int64_t{c.array.rows} * c.array.cols;
  return pes <= 1024 && closed_form(c).total() * pes <= kPeStepLimit;
}

void expect_same(const std::vector<std::int32_t>& expected, const std::vector<std::int32_t>& found,
                 const char* what) {
  ASSERT_EQ(expected.size(), found.size());
  const auto [e, f] = std::mismatch(expected.begin(), expected.end(), found.begin());
  if (e != expected.end())
    ADD_FAILURE() << what << " differs first at element " << e - expected.begin() << ": " << *f
                  << " instead of " << *e;
}

void check_job(const RandomCase& c, test::ClockedBench& bench, array::FunctionalEngine& engine) {
  SCOPED_TRACE(c.text + (c.array.weight_double_buffer ? ", double-buffered" : ", single-buffered"));
  const std::vector<std::int32_t> expected =
      test::naive_array(c.array, c.mapping, c.faults, c.shape, c.activations.data(), c.weights.data());
  const array::CycleBreakdown counts = closed_form(c);
  const std::int64_t cycles = counts.total();
  if (c.shape.macs() <= kBitStringSteps)
    expect_same(expected,
                test::naive_array(c.array, c.mapping, c.faults, c.shape, c.activations.data(),
                                  c.weights.data(), test::NaiveArithmetic::bit_strings),
                "the naive loop over strings of bits");

  std::vector<std::int32_t> functional(expected.size());
  engine.load_faults(c.faults);
  engine.run({c.shape, c.activations.data(), c.weights.data(), functional.data()});
  expect_same(expected, functional, "functional");

  std::vector<std::vector<std::int32_t>> clocked;
  for (std::size_t i = 0; i < bench.arrays(); ++i) bench.array(i).load_faults(c.faults);
  const std::vector<std::int64_t> edges =
      bench.run_job({c.shape, c.activations.data(), c.weights.data(), nullptr}, clocked, 2 * cycles + 100);
  for (std::size_t i = 0; i < bench.arrays(); ++i) {
    EXPECT_EQ(edges[i], cycles) << "cycles of " << bench.array(i).basename();
    EXPECT_TRUE(bench.array(i).breakdown() == counts)
        << "what the sequencer of " << bench.array(i).basename() << " did in them";
    expect_same(expected, clocked[i], bench.array(i).basename());
  }
}

class Fidelities : public ::testing::TestWithParam<int> {};

TEST_P(Fidelities, agree_in_every_bit_and_cycle) {
  std::uint64_t at_pe = 0;
  const std::uint64_t first = first_case() + GetParam() * kCasesPerGroup;
  for (std::uint64_t number = first; number < first + kCasesPerGroup; ++number) {
    const std::string ran = test::in_child([number] {
      RandomCase c = test::random_case(number);
      push_to_extremes(c, number);
      const RandomCase second = next_job(c, number);
      const bool two_jobs = number % 3 == 0;
      const bool with_pe = pe_is_affordable(c) && (!two_jobs || pe_is_affordable(second));
      common::ThreadPool pool(1);
      array::FunctionalEngine engine(c.array, c.mapping, &pool);
      test::ClockedBench bench("bench", c.array, c.mapping, true, with_pe);
      bench.run([&] {
        check_job(c, bench, engine);
        if (two_jobs) check_job(second, bench, engine);
      });
      return std::string(with_pe ? "p" : "");
    });
    at_pe += ran.size();
    ASSERT_FALSE(HasFailure()) << "in case " << number;
  }
  // The limits on pe leave out few cases; if they leave out many, the suite proves less than it says.
  EXPECT_GE(at_pe, kCasesPerGroup * 9 / 10);
}

INSTANTIATE_TEST_SUITE_P(RandomCases, Fidelities, ::testing::Range(0, kGroups));

}  // namespace
}  // namespace kintsugi

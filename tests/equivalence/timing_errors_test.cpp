// Timing errors, TE-Drop and random flips of psums: the naive grid, the functional engine and both clocked
// arrays agree in every bit and every count, in random cases, with and without stalls.
//
// A failing case prints its number, which fixes it; KINTSUGI_FIRST_CASE moves the range of numbers.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <string>

#include "array/functional_engine.h"
#include "common/thread_pool.h"
#include "faults/netlist_model.h"
#include "tests/equivalence/clocked_bench.h"
#include "tests/support/hash_timing.h"
#include "tests/support/in_child.h"
#include "tests/support/naive_timing.h"
#include "tests/support/random_cases.h"

namespace kintsugi {
namespace {

using array::TimedJob;
using test::RandomCase;

constexpr int kGroups = 8;
constexpr std::uint64_t kCasesPerGroup = 30;

std::uint64_t first_case() {
  const char* text = std::getenv("KINTSUGI_FIRST_CASE");
  return text == nullptr ? 50'000 : std::strtoull(text, nullptr, 10);
}

struct TimingCase {
  RandomCase base;
  std::int64_t chunk = 0;
  std::shared_ptr<faults::ChipTiming> timing;
  bool stalls = false;
};

std::shared_ptr<faults::ChipTiming> random_timing(common::RandomStream& random,
                                                  const configs::ArrayConfig& array) {
  auto timing = std::make_shared<faults::ChipTiming>();
  timing->rows = array.rows;
  timing->cols = array.cols;
  timing->seed = random.below(3);
  const double shares[] = {0.05, 0.3, 1};
  const double share = shares[random.below(3)];
  for (int r = 0; r < array.rows; ++r)
    for (int c = 0; c < array.cols; ++c)
      if (random.uniform() < share) timing->at_risk.push_back({r, c, static_cast<int>(random.below(3))});
  test::HashTiming::Options options;
  options.accumulator_bits = array.accumulator_bits;
  const std::uint64_t rates[] = {1, 2, 5, 40};
  options.one_in = rates[random.below(4)];
  options.settled = random.below(4) == 0;
  options.keyed = random.below(3) == 0;
  options.psum_change_only = random.below(5) == 0;
  timing->model = std::make_shared<test::HashTiming>(options);
  timing->mitigation = random.below(2) == 0 ? faults::Mitigation::none : faults::Mitigation::te_drop;
  if (random.below(2) == 0)  // few: only the chains that they are in; many: whole columns
    timing->random.psum_rate = random.below(2) == 0 ? 0.009 / (array.rows * array.accumulator_bits) : 0.003;
  return timing;
}

TimingCase timing_case(std::uint64_t number) {
  TimingCase c;
  c.base = test::random_case(number, 8);
  common::RandomStream random(number, "timing-case");
  c.timing = random_timing(random, c.base.array);
  if (random.below(12) == 0) {  // a stream of several blocks
    c.base.shape = array::gemm_shape(600 + static_cast<std::int64_t>(random.below(900)),
                                     c.base.array.rows + 1, c.base.array.cols);
    c.base.activations = test::random_int8(random, c.base.shape.activation_bytes());
    c.base.weights = test::random_int8(random, c.base.shape.weight_bytes());
  }
  if (random.below(3) == 0)  // traffic with repetitions
    for (std::int8_t& a : c.base.activations) a = static_cast<std::int8_t>(a / 64);
  if (random.below(2) == 0)
    c.chunk = 1 + static_cast<std::int64_t>(random.below(static_cast<std::uint64_t>(c.base.shape.m())));
  c.stalls = random.below(2) == 0;
  return c;
}

// A memory system that keeps the array waiting, now and then.
class StallingGate final : public array::TileGate {
 public:
  explicit StallingGate(std::uint64_t number) : random_(number, "stalling-gate") {}
  bool may_load(std::int64_t) override { return random_.below(3) != 0; }
  Wait may_stream(std::int64_t) override {
    return random_.below(3) != 0   ? Wait::none
           : random_.below(2) == 0 ? Wait::activations
                                   : Wait::accumulators;
  }
  void load_begun(std::int64_t) override {}
  void load_ended(std::int64_t) override {}
  void stream_begun(std::int64_t) override {}
  void stream_fed(std::int64_t) override {}
  void stream_out(std::int64_t) override {}

 private:
  common::RandomStream random_;
};

struct Outcome {
  std::vector<std::int32_t> accumulators;
  std::vector<std::int64_t> late_words;
  array::TimingCounts counts;
};

Outcome outcome_of(const TimedJob& job, std::vector<std::int32_t> accumulators) {
  return {std::move(accumulators), job.late_words, job.counted()};
}

array::LayerJob job_of(const TimingCase& c, std::vector<std::int32_t>& accumulators) {
  accumulators.assign(static_cast<std::size_t>(c.base.shape.outputs()), 0x5a5a5a5a);
  return {c.base.shape, c.base.activations.data(), c.base.weights.data(), accumulators.data()};
}

array::Tiling tiling_of(const TimingCase& c) {
  return array::make_tiling(c.base.shape, c.base.array.rows, c.base.array.cols, c.base.mapping, c.chunk);
}

Outcome naive(const TimingCase& c, std::uint64_t number) {
  std::vector<std::int32_t> unused;
  const TimedJob job(c.timing, c.base.array, job_of(c, unused), tiling_of(c));
  const array::TileFeed feed(job.job(), job.tiling());
  test::NaiveTimingCase n;
  n.array = c.base.array;
  n.mapping = c.base.mapping;
  n.chunk = c.chunk;
  n.faults = c.base.faults;
  n.timing = c.timing.get();
  n.job_key = job.key();
  n.shape = c.base.shape;
  n.activations = job.job().activations;
  n.weights = job.job().weights;
  std::int64_t bits = 0;
  if (job.flips_psums())
    for (std::int64_t tile = 0; tile < feed.tiles(); ++tile) {
      std::vector<array::PsumFlip> drawn;
      TimedJob::PsumFlips(job, tile).take(feed.tile(tile).m.count, drawn, bits);
      for (const array::PsumFlip& f : drawn) n.flips.push_back({tile, f.position, f.row, f.col, f.mask});
    }
  if (c.stalls) {
    common::RandomStream random(number, "naive-stalls");
    for (int i = 0; i < 20; ++i) {
      n.load_stalls.push_back(static_cast<int>(random.below(6)));
      n.stream_stalls.push_back(static_cast<int>(random.below(6)));
    }
  }
  test::NaiveTimingResult result = test::naive_timing(n);
  Outcome out{std::move(result.accumulators), std::move(result.late_words), {}};
  for (const std::int64_t late : out.late_words) out.counts.late_words += late;
  out.counts.dropped_products = result.dropped_products;
  out.counts.flipped_bits = bits;
  return out;
}

void expect_same(const Outcome& expected, const Outcome& found, const std::string& what) {
  EXPECT_EQ(found.counts.late_words, expected.counts.late_words) << what;
  EXPECT_EQ(found.late_words, expected.late_words) << what;
  EXPECT_EQ(found.counts.dropped_products, expected.counts.dropped_products) << what;
  EXPECT_EQ(found.counts.flipped_bits, expected.counts.flipped_bits) << what;
  const auto [e, f] =
      std::mismatch(expected.accumulators.begin(), expected.accumulators.end(), found.accumulators.begin());
  if (e != expected.accumulators.end())
    ADD_FAILURE() << what << " differs first at element " << e - expected.accumulators.begin() << ": " << *f
                  << " instead of " << *e;
}

Outcome functional(const TimingCase& c, array::FunctionalEngine& engine) {
  std::vector<std::int32_t> accumulators;
  TimedJob job(c.timing, c.base.array, job_of(c, accumulators), tiling_of(c));
  engine.load_faults(c.base.faults);
  engine.run(job);
  return outcome_of(job, std::move(accumulators));
}

// In the bench's script.
void check_clocked(const TimingCase& c, std::uint64_t number, test::ClockedBench& bench,
                   const Outcome& expected) {
  for (std::size_t i = 0; i < bench.arrays(); ++i) {
    array::ClockedArray& clocked = bench.array(i);
    clocked.load_faults(c.base.faults);
    std::vector<std::int32_t> accumulators;
    const array::LayerJob given = job_of(c, accumulators);
    TimedJob job(c.timing, c.base.array, given, tiling_of(c));
    StallingGate gate(number);
    clocked.start(job.job(), job.tiling(), c.stalls ? &gate : nullptr, sc_core::sc_time(2, sc_core::SC_NS),
                  &job);
    for (int edge = 0; !clocked.done() && edge < 200'000; ++edge) bench.tick();
    ASSERT_TRUE(clocked.done()) << clocked.basename();
    expect_same(expected, outcome_of(job, std::move(accumulators)), clocked.basename());
  }
}

class TimingErrors : public ::testing::TestWithParam<int> {};

TEST_P(TimingErrors, agree_in_every_bit_and_count) {
  const std::uint64_t first = first_case() + GetParam() * kCasesPerGroup;
  std::int64_t late = 0, dropped = 0, flipped = 0;
  for (std::uint64_t number = first; number < first + kCasesPerGroup; ++number) {
    const std::string counts = test::in_child([number] {
      const TimingCase c = timing_case(number);
      TimingCase second = c;  // on the same array, other errors: nothing may be left over
      common::RandomStream random(number, "second-timing");
      second.timing = random_timing(random, c.base.array);
      const bool again = number % 3 == 0;
      const Outcome expected = naive(c, number);
      const Outcome expected_again = again ? naive(second, number) : Outcome{};
      // SystemC first, then threads.
      test::ClockedBench bench("bench", c.base.array, c.base.mapping, true, true);
      const std::string text = fmt::format("{}, {}-buffered, chunk {}, {} at risk, stalls {}", c.base.text,
                                           c.base.array.weight_double_buffer ? "double" : "single", c.chunk,
                                           c.timing->at_risk.size(), c.stalls);
      SCOPED_TRACE(text);
      common::ThreadPool pool(number % 2 == 0 ? 1 : 3);
      array::FunctionalEngine engine(c.base.array, c.base.mapping, &pool);
      expect_same(expected, functional(c, engine), "functional");
      if (again) expect_same(expected_again, functional(second, engine), "functional, second job");
      bench.run([&] {
        check_clocked(c, number, bench, expected);
        if (again) check_clocked(second, number, bench, expected_again);
      });
      return fmt::format("{} {} {}", expected.counts.late_words, expected.counts.dropped_products,
                         expected.counts.flipped_bits);
    });
    ASSERT_FALSE(HasFailure()) << "in case " << number;
    std::int64_t l = 0, d = 0, f = 0;
    ASSERT_EQ(std::sscanf(counts.c_str(), "%ld %ld %ld", &l, &d, &f), 3);
    late += l;
    dropped += d;
    flipped += f;
  }
  // The cases must show what they are about.
  EXPECT_GT(late, 1000);
  EXPECT_GT(dropped, 100);
  EXPECT_GT(flipped, 5);
}

// ---- With a PE's own gates ----

// Small chips: the model is asked one cycle at a time by the witnesses, and costs as much as for hundreds.
TimingCase netlist_case(std::uint64_t number, const std::shared_ptr<const faults::TimedNetlist>& netlist) {
  TimingCase c = timing_case(number);
  common::RandomStream random(number, "netlist-case");
  const auto up_to = [&](std::int64_t n) {
    return 1 + static_cast<std::int64_t>(random.below(static_cast<std::uint64_t>(n)));
  };
  c.base.array.rows = static_cast<int>(up_to(4));
  c.base.array.cols = static_cast<int>(up_to(3));
  c.base.array.accumulator_bits = 32;
  c.base.shape = array::gemm_shape(up_to(12), up_to(9), up_to(5));
  c.base.activations = test::random_int8(random, c.base.shape.activation_bytes());
  c.base.weights = test::random_int8(random, c.base.shape.weight_bytes());
  c.base.faults = test::random_faults(random, c.base.array.rows, c.base.array.cols, 0.2, test::all_sites(),
                                      test::BypassKind::partial, 32);
  c.chunk = random.below(2) == 0 ? 0 : up_to(c.base.shape.m());
  c.timing = random_timing(random, c.base.array);
  c.timing->at_risk.clear();
  for (int pe = 0; pe < c.base.array.rows * c.base.array.cols; ++pe)
    c.timing->at_risk.push_back(
        {pe / c.base.array.cols, pe % c.base.array.cols, static_cast<int>(random.below(3))});
  // Period 1.0 in bin 0, then down to 0.5 of Tmin.
  const double tmin = faults::slowest_path_ps(*netlist);
  c.timing->model = std::make_shared<faults::NetlistModel>(
      netlist, 50,
      std::vector<double>{tmin, random.uniform(0.6, 0.9) * tmin, random.uniform(0.5, 0.6) * tmin});
  c.base.text = fmt::format("netlist case {}: {}x{} array, M {}, K {}, N {}", number, c.base.array.rows,
                            c.base.array.cols, c.base.shape.m(), c.base.shape.k(), c.base.shape.n());
  return c;
}

TEST(NetlistTimingErrors, agree_in_every_bit_and_count_on_every_instruction_set) {
  std::vector<const char*> instructions = {"portable", "avx2"};
  if (__builtin_cpu_supports("avx512vnni") != 0) instructions.push_back("avx512");
  std::int64_t late = 0;
  for (std::uint64_t number = 0; number < 8; ++number) {
    std::string first;
    for (const char* isa : instructions) {
      SCOPED_TRACE(isa);
      const std::string text = test::in_child([&] {
        setenv("KINTSUGI_ISA", isa, 1);
        const auto netlist = std::make_shared<const faults::TimedNetlist>(
            faults::read_timed_netlist(KINTSUGI_SOURCE_DIR "/configs/pes/pe_ripple.pe"));
        const TimingCase c = netlist_case(number, netlist);
        SCOPED_TRACE(c.base.text);
        const Outcome expected = naive(c, number);
        test::ClockedBench bench("bench", c.base.array, c.base.mapping, true, true);
        array::FunctionalEngine engine(c.base.array, c.base.mapping);
        expect_same(expected, functional(c, engine), "functional");
        bench.run([&] { check_clocked(c, number, bench, expected); });
        std::string told = fmt::format("{}", expected.counts.late_words);
        for (const std::int32_t value : expected.accumulators) told += fmt::format(" {}", value);
        return told;
      });
      ASSERT_FALSE(HasFailure()) << "in case " << number;
      if (first.empty())
        first = text;
      else
        EXPECT_EQ(text, first);
    }
    late += std::strtoll(first.c_str(), nullptr, 10);
  }
  EXPECT_GT(late, 50);
}

TEST(NetlistTimingErrors, none_at_the_slowest_paths_period) {
  configs::ArrayConfig array;
  array.rows = array.cols = 16;
  common::RandomStream random(1, "on-time");
  const array::LayerShape shape = array::gemm_shape(300, 40, 20);
  const auto a = test::random_int8(random, shape.activation_bytes()),
             w = test::random_int8(random, shape.weight_bytes());
  const auto netlist = std::make_shared<const faults::TimedNetlist>(
      faults::read_timed_netlist(KINTSUGI_SOURCE_DIR "/configs/pes/pe_prefix.pe"));
  auto timing = std::make_shared<faults::ChipTiming>();
  timing->rows = timing->cols = 16;
  for (int pe = 0; pe < 256; ++pe) timing->at_risk.push_back({pe / 16, pe % 16, 0});
  const double tmin = faults::slowest_path_ps(*netlist);
  array::FunctionalEngine engine(array, configs::ConvolutionMapping::im2col);
  std::vector<std::int32_t> right(6000), found(6000);
  engine.run({shape, a.data(), w.data(), right.data()});
  for (const double period : {1.0, 0.85}) {
    timing->model = std::make_shared<faults::NetlistModel>(netlist, 50, std::vector<double>{period * tmin});
    TimedJob job(timing, array, {shape, a.data(), w.data(), found.data()},
                 array::make_tiling(shape, 16, 16, configs::ConvolutionMapping::im2col));
    engine.run(job);
    EXPECT_EQ(job.counted().late_words == 0, period == 1.0);
    EXPECT_EQ(found == right, period == 1.0);
  }
}

INSTANTIATE_TEST_SUITE_P(RandomCases, TimingErrors, ::testing::Range(0, kGroups));

}  // namespace
}  // namespace kintsugi

// The memory system: random chips and sequences of launches through the closed calendar, the platform at
// every fidelity and the naive witness of docs/timing.md. The same cycles, breakdown, traffic, events and
// bytes.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <functional>
#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "array/functional_accelerator.h"
#include "common/diagnostics.h"
#include "common/thread_pool.h"
#include "sim/host.h"
#include "tests/equivalence/memory_cases.h"
#include "tests/support/in_child.h"
#include "tests/support/naive_memory.h"

namespace kintsugi {
namespace {

using configs::Fidelity;
using test::MemoryCase;
using test::MemoryStep;

constexpr std::uint64_t kGroups = 10, kCasesPerGroup = 34;
constexpr std::uint64_t kMemory = std::uint64_t{1} << 22;

// KINTSUGI_FIRST_CASE=n looks at other cases: n takes the place of 0.
std::uint64_t first_case() {
  const char* text = std::getenv("KINTSUGI_FIRST_CASE");
  return text == nullptr ? 0 : std::strtoull(text, nullptr, 10);
}

std::string text_of_cost(std::int64_t cycles, const array::CycleBreakdown& b, const array::Traffic& t) {
  return fmt::format(
      "cycles {}: active {}, weight_shift {}, pipeline {}, stalls: weights {}, activations {}, accumulators "
      "{}, "
      "output {}; DRAM: weights {}, activations {}, outputs {}, bus {}, hits {}, misses {}\n",
      cycles, b.active, b.weight_shift, b.pipeline, b.stall_weights, b.stall_activations,
      b.stall_accumulators, b.stall_output, t.dram_weight_bytes, t.dram_activation_bytes, t.dram_output_bytes,
      t.dram_bus_bytes, t.row_hits, t.row_misses);
}

std::string text_of_events(std::vector<array::TimelineEvent> events, bool dma) {
  const char* const lanes[] = {"dma_weights", "dma_activations", "dma_outputs",
                               "load",        "stream",          "activation_unit"};
  const auto key = [](const array::TimelineEvent& e) {
    return std::tuple(e.lane, e.index, e.begin, e.end, e.bytes);
  };
  std::sort(events.begin(), events.end(), [&](const auto& a, const auto& b) { return key(a) < key(b); });
  std::string text;
  for (const array::TimelineEvent& e : events)
    if (dma == (e.lane < array::Lane::array_load))
      text += fmt::format("  {} {}: {} ... {}, {} bytes\n", lanes[static_cast<int>(e.lane)], e.index, e.begin,
                          e.end, e.bytes);
  return text;
}

// A launch as it is told: what the witness knows of, and the rest.
struct Told {
  bool refused = false;
  std::string witnessed, rest;
};

std::vector<Told> witness_tells(const MemoryCase& c) {
  test::NaiveMemory memory(c.chip);
  std::vector<Told> all;
  for (const MemoryStep& step : c.steps) {
    const test::NaiveReport report =
        std::visit([&](const auto& launch) { return memory.launch(launch); }, step.launch);
    Told told;
    told.refused = !report.fits;
    if (!told.refused)
      told.witnessed = text_of_cost(report.cycles, report.breakdown, report.traffic) +
                       text_of_events(report.events, false);
    all.push_back(told);
    if (told.refused) break;
  }
  return all;
}

// Ends each part, since texts go through a pipe.
constexpr char kEnd = '\x1e';

std::string transcript(array::Accelerator& device, const MemoryCase& c) {
  std::vector<array::TimelineEvent> events;
  device.observe_timeline([&](const array::TimelineEvent& event) { events.push_back(event); });
  device.load_faults(c.faults);
  device.data_to_device(0, c.dram);
  if (!c.buffer.empty()) device.data_to_device(array::kBufferBase, c.buffer);
  std::string text;
  std::vector<std::byte> dram = c.dram, buffer = c.buffer;
  for (std::size_t i = 0; i < c.steps.size(); ++i) {
    const MemoryStep& step = c.steps[i];
    events.clear();
    array::LaunchReport report;
    try {
      report = std::visit([&](const auto& launch) { return device.launch(launch); }, step.launch);
    } catch (const common::InputError& error) {
      text += fmt::format("R{}{}{}", kEnd, error.what(), kEnd);
      break;
    }
    EXPECT_EQ(report.breakdown.total(), report.cycles);
    const array::Traffic& t = report.traffic;
    text += fmt::format("L{}{}{}{}buffer {}, fifo {}, accumulators {}, registers {}\n{}{}", kEnd,
                        text_of_cost(report.cycles, report.breakdown, t), text_of_events(events, false), kEnd,
                        t.buffer_bytes, t.fifo_bytes, t.accumulator_bytes, t.register_bytes,
                        text_of_events(events, true), kEnd);
    for (const MemoryStep::Result& result : step.results) {
      const bool kept = result.address >= array::kBufferBase;
      std::copy(result.bytes.begin(), result.bytes.end(),
                kept ? buffer.begin() + static_cast<std::ptrdiff_t>(result.address - array::kBufferBase)
                     : dram.begin() + static_cast<std::ptrdiff_t>(result.address));
    }
    std::vector<std::byte> seen(dram.size()), kept(buffer.size());
    device.data_from_device(0, seen);
    if (!kept.empty()) device.data_from_device(array::kBufferBase, kept);
    const auto wrong = std::mismatch(seen.begin(), seen.end(), dram.begin()).first - seen.begin();
    EXPECT_TRUE(seen == dram) << "after launch " << i << " memory is wrong from " << wrong << " on";
    EXPECT_TRUE(kept == buffer) << "after launch " << i << " the unified buffer is wrong";
  }
  return text;
}

std::vector<Told> parse(const std::string& text) {
  std::vector<Told> all;
  std::size_t at = 0;
  const auto part = [&] {
    const std::size_t end = text.find(kEnd, at);
    const std::string result = text.substr(at, end - at);
    at = end + 1;
    return result;
  };
  while (at < text.size()) {
    Told told;
    told.refused = part() == "R";
    (told.refused ? told.rest : told.witnessed) = part();
    if (!told.refused) told.rest = part();
    all.push_back(told);
  }
  return all;
}

std::vector<Told> device_tells(const MemoryCase& c,
                               const std::function<std::unique_ptr<array::Accelerator>()>& make) {
  return parse(test::in_child([&] {
    const auto device = make();
    return transcript(*device, c);
  }));
}

void expect_same(const std::vector<Told>& expected, const std::vector<Told>& seen, bool all,
                 const char* who) {
  ASSERT_EQ(expected.size(), seen.size()) << who;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    EXPECT_EQ(expected[i].refused, seen[i].refused) << who << ", launch " << i << ": " << seen[i].rest;
    EXPECT_EQ(expected[i].witnessed, seen[i].witnessed) << who << ", launch " << i;
    if (all) {
      EXPECT_EQ(expected[i].rest, seen[i].rest) << who << ", launch " << i;
    }
  }
}

void check(std::uint64_t number) {
  const MemoryCase c = test::memory_case(number);
  SCOPED_TRACE(c.text);
  ASSERT_LT(c.dram.size(), kMemory);
  const std::vector<Told> calendar = device_tells(
      c, [&] { return std::make_unique<array::FunctionalAccelerator>(c.chip, nullptr, kMemory); });
  expect_same(witness_tells(c), calendar, false, "calendar against witness");
  for (const Fidelity fidelity : {Fidelity::functional, Fidelity::cycle, Fidelity::pe}) {
    const std::vector<Told> platform = device_tells(
        c, [&] { return std::make_unique<sim::TlmAccelerator>(c.chip, fidelity, nullptr, kMemory); });
    expect_same(calendar, platform, true,
                fidelity == Fidelity::functional ? "functional against calendar"
                : fidelity == Fidelity::cycle    ? "cycle against calendar"
                                                 : "pe against calendar");
  }
}

class MemorySystem : public testing::TestWithParam<std::uint64_t> {};

TEST_P(MemorySystem, is_the_same_to_witness_calendar_and_every_fidelity) {
  for (std::uint64_t i = 0; i < kCasesPerGroup && !HasFailure(); ++i) {
    const std::uint64_t number = first_case() + GetParam() * kCasesPerGroup + i;
    check(number);
    if (HasFailure())
      std::printf("KINTSUGI_FIRST_CASE=%s shows it in group 0\n", std::to_string(number).c_str());
  }
}

INSTANTIATE_TEST_SUITE_P(Groups, MemorySystem, testing::Range<std::uint64_t>(0, kGroups));

// Cases in which activations and outputs become ready in the same cycle, which is rare, and the order
// matters.
constexpr std::uint64_t kTies[] = {733, 1031, 1281, 1390, 1395, 1465, 1850, 1960};

TEST(MemorySystemTies, are_broken_in_the_same_way) {
  for (const std::uint64_t number : kTies) check(number);
}

// The cases are worth their time: everything that can happen does, often enough.
TEST(MemorySystemCases, show_every_stall_and_every_way_to_cut) {
  std::int64_t launches = 0, refused = 0, weights = 0, activations = 0, accumulators = 0, output = 0,
               pipeline = 0, slabs = 0, halved = 0, prefetched = 0, misses = 0, hits = 0, most = 0;
  for (std::uint64_t i = 0; i < kGroups * kCasesPerGroup; ++i) {
    const MemoryCase c = test::memory_case(first_case() + i);
    test::NaiveMemory memory(c.chip);
    for (const MemoryStep& step : c.steps) {
      const test::NaiveReport report =
          std::visit([&](const auto& launch) { return memory.launch(launch); }, step.launch);
      ++launches;
      refused += !report.fits;
      if (!report.fits) break;
      EXPECT_EQ(report.breakdown.total(), report.cycles) << c.text;
      weights += report.breakdown.stall_weights > 0;
      activations += report.breakdown.stall_activations > 0;
      accumulators += report.breakdown.stall_accumulators > 0;
      output += report.breakdown.stall_output > 0;
      pipeline += report.breakdown.pipeline > 0;
      slabs += report.slabs;
      halved += report.halved;
      prefetched += report.prefetched > 0;
      misses += report.traffic.row_misses > 0;
      hits += report.traffic.row_hits > 0;
      most = std::max(most, report.cycles);
    }
  }
  std::int64_t ties = 0;
  for (const std::uint64_t number : kTies) {
    const MemoryCase c = test::memory_case(number);
    test::NaiveMemory memory(c.chip);
    std::int64_t of_case = 0;
    for (const MemoryStep& step : c.steps)
      of_case += std::visit([&](const auto& launch) { return memory.launch(launch); }, step.launch).ties;
    ties += of_case > 0;
  }
  EXPECT_GE(ties, 5) << "the cases of kTies have changed; find others";
  const std::string seen = fmt::format(
      "{} launches, {} refused; with stalls for weights {}, activations {}, accumulators {}, output {}; "
      "pipeline {}, "
      "slabs {}, halved {}, prefetched {}, row misses {}, row hits {}; longest {}",
      launches, refused, weights, activations, accumulators, output, pipeline, slabs, halved, prefetched,
      misses, hits, most);
  std::printf("%s\n", seen.c_str());
  EXPECT_LE(refused * 100, launches * 15) << seen;
  EXPECT_GE(refused, 1) << seen;
  for (const std::int64_t count :
       {weights, activations, accumulators, output, pipeline, slabs, halved, prefetched, misses, hits})
    EXPECT_GE(count, 30) << seen;
}

}  // namespace
}  // namespace kintsugi

// Timing errors through the Accelerator interface: sequences of launches on chips with memory systems leave
// the same bytes and the same counts behind on the platform at every fidelity and without it, and take as
// long as they do without errors.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <functional>
#include <memory>
#include <string>
#include <variant>

#include "array/content_hash.h"
#include "array/functional_accelerator.h"
#include "common/diagnostics.h"
#include "common/thread_pool.h"
#include "sim/host.h"
#include "tests/equivalence/memory_cases.h"
#include "tests/support/hash_timing.h"
#include "tests/support/in_child.h"

namespace kintsugi {
namespace {

using configs::Fidelity;
using test::MemoryCase;

constexpr std::uint64_t kMemory = std::uint64_t{1} << 22;
constexpr std::uint64_t kCases = 40;

std::uint64_t first_case() {
  const char* text = std::getenv("KINTSUGI_FIRST_CASE");
  return text == nullptr ? 7'000 : std::strtoull(text, nullptr, 10);
}

std::shared_ptr<faults::ChipTiming> timing_of(const MemoryCase& c, std::uint64_t number) {
  common::RandomStream random(number, "memory-timing");
  const configs::ArrayConfig& array = c.chip.array;
  auto timing = std::make_shared<faults::ChipTiming>();
  timing->rows = array.rows;
  timing->cols = array.cols;
  for (int r = 0; r < array.rows; ++r)
    for (int col = 0; col < array.cols; ++col)
      if (random.below(4) == 0) timing->at_risk.push_back({r, col, static_cast<int>(random.below(2))});
  test::HashTiming::Options options;
  options.accumulator_bits = array.accumulator_bits;
  options.one_in = 30;
  options.keyed = random.below(2) == 0;
  timing->model = std::make_shared<test::HashTiming>(options);
  if (random.below(2) == 0) timing->mitigation = faults::Mitigation::te_drop;
  const auto rate = [&](double most) { return random.below(2) == 0 ? 0 : random.uniform() * most; };
  timing->random = {rate(0.01), rate(0.01), rate(1e-4), rate(0.001)};
  timing->seed = number;
  return timing;
}

struct Told {
  std::string errors, cycles;
};

std::string transcript(array::Accelerator& device, const MemoryCase& c, bool errs, std::uint64_t number) {
  device.load_faults(c.faults);
  const auto timing = timing_of(c, number);
  if (errs) device.load_timing(timing);
  device.data_to_device(0, c.dram);
  if (!c.buffer.empty()) device.data_to_device(array::kBufferBase, c.buffer);
  std::string errors, cycles;
  for (const test::MemoryStep& step : c.steps) {
    array::LaunchReport report;
    try {
      report = std::visit([&](const auto& launch) { return device.launch(launch); }, step.launch);
    } catch (const common::InputError&) {
      errors += "refused ";
      break;
    }
    cycles += fmt::format("{} ", report.cycles);
    std::vector<std::byte> dram(c.dram.size()), buffer(c.buffer.size());
    device.data_from_device(0, dram);
    if (!buffer.empty()) device.data_from_device(array::kBufferBase, buffer);
    errors += fmt::format("late {} dropped {} flipped {} memory {:x} buffer {:x}; ", report.timing.late_words,
                          report.timing.dropped_products, report.timing.flipped_bits,
                          array::fingerprint(dram.data(), dram.size()).low,
                          array::fingerprint(buffer.data(), buffer.size()).low);
  }
  for (const std::int64_t late : device.late_words_by_pe()) errors += fmt::format("{} ", late);
  // Without errors again.
  device.load_timing(nullptr);
  EXPECT_TRUE(device.late_words_by_pe().empty());
  return errors + "\n" + cycles;
}

Told device_tells(const MemoryCase& c, bool errs, std::uint64_t number,
                  const std::function<std::unique_ptr<array::Accelerator>()>& make) {
  const std::string text = test::in_child([&] { return transcript(*make(), c, errs, number); });
  const std::size_t end = text.find('\n');
  return {text.substr(0, end), text.substr(end + 1)};
}

TEST(MemoryTiming, errors_are_the_same_on_every_device_and_take_no_time) {
  std::int64_t erring = 0;
  for (std::uint64_t number = first_case(); number < first_case() + kCases; ++number) {
    const MemoryCase c = test::memory_case(number);
    SCOPED_TRACE(fmt::format("case {}: {}", number, c.text));
    const auto platform = [&](Fidelity fidelity) {
      return device_tells(c, true, number, [&] {
        return std::make_unique<sim::TlmAccelerator>(c.chip, fidelity, nullptr, kMemory);
      });
    };
    const auto direct = [&](bool errs, int threads) {
      return device_tells(c, errs, number, [&]() -> std::unique_ptr<array::Accelerator> {
        static std::unique_ptr<common::ThreadPool> pool;
        pool = std::make_unique<common::ThreadPool>(threads);
        return std::make_unique<array::FunctionalAccelerator>(c.chip, pool.get(), kMemory);
      });
    };
    const Told expected = direct(true, 1), sound = direct(false, 1);
    EXPECT_EQ(expected.cycles, sound.cycles);
    if (expected.errors.find("late 0 dropped 0 flipped 0") == std::string::npos) ++erring;
    EXPECT_EQ(direct(true, 3).errors, expected.errors);
    for (const Fidelity fidelity : {Fidelity::functional, Fidelity::cycle, Fidelity::pe}) {
      const Told told = platform(fidelity);
      EXPECT_EQ(told.errors, expected.errors) << "fidelity " << static_cast<int>(fidelity);
      EXPECT_EQ(told.cycles, expected.cycles) << "fidelity " << static_cast<int>(fidelity);
    }
    ASSERT_FALSE(HasFailure());
  }
  EXPECT_GT(erring, static_cast<std::int64_t>(kCases) / 2);
}

}  // namespace
}  // namespace kintsugi

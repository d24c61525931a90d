// The platform through the host's calls: the same bits, cycles and interrupt times at every fidelity.
#include "sim/platform.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <vector>

#include "array/functional_accelerator.h"
#include "array/requantize.h"
#include "common/random.h"
#include "common/thread_pool.h"
#include "tests/support/in_child.h"
#include "tests/support/naive_array.h"

namespace kintsugi {
namespace {

using configs::Fidelity;
using test::in_child;

constexpr std::uint64_t kMemory = std::uint64_t{1} << 24;
constexpr Fidelity kFidelities[] = {Fidelity::pe, Fidelity::cycle, Fidelity::functional};

configs::ChipConfig small_chip(bool double_buffer = true) {
  configs::ChipConfig chip;
  chip.name = "small";
  chip.array.rows = 5;
  chip.array.cols = 7;
  chip.array.weight_double_buffer = double_buffer;
  chip.clock_mhz = 700;
  return chip;
}

std::vector<std::int8_t> random_bytes(std::int64_t count, const char* purpose, std::uint64_t index) {
  common::RandomStream random(7, purpose, index);
  std::vector<std::int8_t> bytes(static_cast<std::size_t>(count));
  for (std::int8_t& byte : bytes) byte = static_cast<std::int8_t>(static_cast<int>(random.below(256)) - 128);
  return bytes;
}

// A few faults at every site, some of them bypassed, and a healthy bypassed PE.
faults::ArrayFaults some_faults(const configs::ArrayConfig& array, std::uint64_t index) {
  common::RandomStream random(7, "platform-faults", index);
  faults::ArrayFaults faults = faults::fault_free(array.rows, array.cols);
  for (int i = 0; i < array.rows * array.cols; ++i) {
    const bool broken = random.uniform() < 0.3;
    faults.bypass[i] = random.uniform() < 0.2 ? 1 : 0;
    if (!broken) continue;
    faults::FaultyPe pe{i / array.cols, i % array.cols, {}};
    const auto site = static_cast<pe::Site>(random.below(pe::kSites));
    const int bit = static_cast<int>(random.below(pe::site_bits(site, array.accumulator_bits)));
    // Stuck at 0, stuck at 1, or flipped: the three words of a hook.
    const auto kind = static_cast<int>(random.below(3));
    if (kind < 2) {
      pe.hooks[site].stick(bit, kind);
    } else {
      pe.hooks[site].flip = std::uint32_t{1} << bit;
    }
    if (!pe.hooks.identity()) faults.faulty.push_back(pe);
  }
  return faults;
}

struct Operands {
  array::LayerShape shape;
  std::vector<std::int8_t> activations;
  std::vector<std::int8_t> weights;
};

std::vector<Operands> operands() {
  std::vector<array::LayerShape> shapes = {array::gemm_shape(9, 12, 8), array::gemm_shape(2, 3, 20),
                                           array::gemm_shape(1, 1, 1)};
  array::LayerShape convolution;
  convolution.batch = 2;
  convolution.in_h = 6;
  convolution.in_w = 5;
  convolution.in_c = 4;
  convolution.kernel_h = convolution.kernel_w = 3;
  convolution.stride = 2;
  convolution.padding = 1;
  convolution.groups = 2;
  convolution.out_c = 6;
  shapes.push_back(convolution);
  std::vector<Operands> all;
  for (std::size_t i = 0; i < shapes.size(); ++i) {
    all.push_back({shapes[i], random_bytes(shapes[i].activation_bytes(), "platform-activations", i),
                   random_bytes(shapes[i].weight_bytes(), "platform-weights", i)});
  }
  return all;
}

constexpr array::DeviceAddress kActivations = 0, kWeights = 1 << 20, kOutput = 2 << 20, kTable = 3 << 20;

std::vector<array::Requantization> table_for(std::int64_t channels) {
  std::vector<array::Requantization> table;
  for (std::int64_t c = 0; c < channels; ++c) {
    table.push_back({static_cast<std::int32_t>(1000 + 77 * c) * (c % 2 ? -1 : 1), 17, (c - 2) << 17});
  }
  return table;
}

// Every job under two sets of faults; one line of text per job with everything that can be compared.
std::string transcript(array::Accelerator& accelerator, const sim::TlmAccelerator* tlm) {
  std::string text;
  for (std::uint64_t set = 0; set < 2; ++set) {
    accelerator.load_faults(some_faults(accelerator.chip().array, set));
    for (const Operands& work : operands()) {
      for (const bool requantize : {false, true}) {
        accelerator.data_to_device(kActivations, array::as_device_bytes(std::span(work.activations)));
        accelerator.data_to_device(kWeights, array::as_device_bytes(std::span(work.weights)));
        const auto table = table_for(work.shape.out_c);
        accelerator.data_to_device(kTable, array::as_device_bytes(std::span(table)));
        array::LayerLaunch launch{work.shape, kActivations, kWeights, kOutput, std::nullopt, false};
        if (requantize) {
          launch.requantization = kTable;
          launch.relu = work.shape.out_c % 2 == 0;
        }
        const array::LaunchReport report = accelerator.launch(launch);
        std::vector<std::byte> output(static_cast<std::size_t>(work.shape.outputs()) * (requantize ? 1 : 4));
        accelerator.data_from_device(kOutput, output);
        text +=
            fmt::format("set {} cycles {} stalls {} output", set, report.cycles, report.breakdown.stalls());
        for (const std::byte b : output) text += fmt::format(" {:02x}", static_cast<int>(b));
        text += '\n';
        if (tlm != nullptr) {
          text += fmt::format("time {}\n", tlm->platform().host.interrupt_time().value());
        }
      }
    }
  }
  return text;
}

std::string without_times(const std::string& text) {
  std::string kept;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = text.find('\n', at) + 1;
    if (text.compare(at, 5, "time ") != 0) kept += text.substr(at, end - at);
    at = end;
  }
  return kept;
}

TEST(Platform, AllFidelitiesAgreeInBitsCyclesAndInterruptTimes) {
  for (const bool double_buffer : {true, false}) {
    const configs::ChipConfig chip = small_chip(double_buffer);
    std::map<Fidelity, std::string> seen;
    for (const Fidelity fidelity : kFidelities) {
      seen[fidelity] = in_child([&] {
        common::ThreadPool pool(2);
        sim::TlmAccelerator accelerator(chip, fidelity, &pool, kMemory);
        return transcript(accelerator, &accelerator);
      });
    }
    EXPECT_FALSE(seen[Fidelity::pe].empty());
    EXPECT_EQ(seen[Fidelity::pe], seen[Fidelity::functional]);
    EXPECT_EQ(seen[Fidelity::cycle], seen[Fidelity::functional]);

    // The same engine without SystemC, from the same calls.
    const std::string bare = in_child([&] {
      common::ThreadPool pool(2);
      array::FunctionalAccelerator accelerator(chip, &pool, kMemory);
      return transcript(accelerator, nullptr);
    });
    EXPECT_EQ(without_times(seen[Fidelity::functional]), bare);
  }
}

TEST(Platform, WithoutDirectMemoryAccessNothingChangesButTheTraffic) {
  const configs::ChipConfig chip = small_chip();
  for (const Fidelity fidelity : {Fidelity::cycle, Fidelity::functional}) {
    std::string text[2];
    for (const bool dmi : {false, true}) {
      text[dmi] = in_child([&] {
        sim::TlmAccelerator accelerator(chip, fidelity, nullptr, kMemory, dmi);
        const std::string result = transcript(accelerator, &accelerator);
        EXPECT_EQ(accelerator.platform().memory.transactions() == 0, dmi);
        return result;
      });
    }
    EXPECT_FALSE(text[0].empty());
    EXPECT_EQ(text[0], text[1]);
  }
}

// Against the naive loop, and against arithmetic done here.
TEST(Platform, OutputsAndInterruptTimeAreThoseOfTheDesign) {
  in_child([] {
    const configs::ChipConfig chip = small_chip();
    sim::TlmAccelerator accelerator(chip, Fidelity::functional, nullptr, kMemory);
    const Operands work = operands()[0];  // 9×12×8 on 5×7: 3 k-tiles, 2 n-tiles
    const faults::ArrayFaults faults = some_faults(chip.array, 1);
    accelerator.load_faults(faults);
    accelerator.data_to_device(kActivations, array::as_device_bytes(std::span(work.activations)));
    accelerator.data_to_device(kWeights, array::as_device_bytes(std::span(work.weights)));
    const auto report =
        accelerator.launch({work.shape, kActivations, kWeights, kOutput, std::nullopt, false});
    std::vector<std::int32_t> output(9 * 8);
    accelerator.data_from_device(kOutput, std::as_writable_bytes(std::span(output)));
    EXPECT_EQ(output, test::naive_array(chip.array, chip.convolution, faults, work.shape,
                                        work.activations.data(), work.weights.data()));
    // R + Σ_{i<6} max(9, R) + 9 + R + C − 2
    EXPECT_EQ(report.cycles, 5 + 5 * 9 + 9 + 5 + 7 - 2);
    EXPECT_EQ(accelerator.platform().host.interrupt_time().value(),
              static_cast<std::uint64_t>(report.cycles) * 1428571);
    return std::string();
  });
}

TEST(Platform, RefusesWhatCannotBe) {
  in_child([] {
    configs::ChipConfig chip = small_chip();
    chip.array.bypass = configs::Bypass::none;
    sim::TlmAccelerator accelerator(chip, Fidelity::functional, nullptr, 4096);
    std::vector<std::byte> bytes(16);
    EXPECT_THROW(accelerator.data_to_device(4081, bytes), std::out_of_range);
    EXPECT_THROW(accelerator.data_from_device(std::uint64_t{1} << 48, bytes), std::out_of_range)
        << "the array's registers are not memory";
    EXPECT_NO_THROW(accelerator.data_to_device(4080, bytes));
    EXPECT_NO_THROW(accelerator.data_to_device(4096, {}));
    const auto gemm = array::gemm_shape(4, 4, 4);
    EXPECT_THROW(accelerator.launch({gemm, 4090, 0, 64, std::nullopt, false}), std::out_of_range);
    EXPECT_THROW(accelerator.launch({gemm, 0, 0, 4090, std::nullopt, false}), std::out_of_range);
    EXPECT_THROW(accelerator.launch({gemm, 0, 0, 64, 4090, false}), std::out_of_range);
    EXPECT_THROW(accelerator.launch({gemm, 0, 0, 64, 128, false}), std::invalid_argument) << "shift 0";
    EXPECT_THROW(accelerator.launch({gemm, 0, 0, 64, std::nullopt, true}), std::invalid_argument);
    EXPECT_THROW(accelerator.launch({array::LayerShape{.batch = 0}, 0, 0, 64, std::nullopt, false}),
                 std::invalid_argument);
    EXPECT_THROW(accelerator.launch({gemm, 128, 0, 100, std::nullopt, false}), std::invalid_argument)
        << "the output overlaps the activations";
    EXPECT_THROW(accelerator.load_faults(faults::fault_free(5, 6)), std::invalid_argument);
    faults::ArrayFaults bypassed = faults::fault_free(5, 7);
    bypassed.bypass[3] = 1;
    EXPECT_THROW(accelerator.load_faults(bypassed), std::invalid_argument) << "no multiplexers";
    // After all that it still works.
    EXPECT_EQ(accelerator.launch({gemm, 0, 0, 64, std::nullopt, false}).cycles, 5 + 4 + 5 + 7 - 2);
    // And it is the only one.
    EXPECT_THROW(sim::TlmAccelerator(chip, Fidelity::functional), std::logic_error);
    return std::string();
  });
}

TEST(Platform, HostConversionsRoundTripLayouts) {
  in_child([] {
    sim::TlmAccelerator host(small_chip(), Fidelity::functional, nullptr, kMemory);
    const std::vector<float> values = {0.5f, 1.5f, -0.5f, -2.5f, 300.0f, -300.0f, 0.49f};
    std::vector<std::int8_t> integers(values.size());
    host.float_to_int(values, 1.0f, integers);
    EXPECT_EQ(integers, (std::vector<std::int8_t>{0, 2, 0, -2, 127, -127, 0}));
    const std::vector<std::int32_t> accumulators = {1, 2, 3, -4};
    std::vector<float> floats(4);
    host.int_to_float(accumulators, std::vector<float>{0.5f, 2.0f}, floats);
    EXPECT_EQ(floats, (std::vector<float>{0.5f, 4.0f, 1.5f, -8.0f}));
    const std::vector<std::int8_t> nchw = {0, 1, 2, 10, 11, 12, 20, 21, 22, 30, 31, 32};  // 2 × 2 × 3
    std::vector<std::int8_t> nhwc(nchw.size()), back(nchw.size());
    host.layout_reorder(nchw, 2, 2, 3, nhwc);
    EXPECT_EQ(nhwc, (std::vector<std::int8_t>{0, 10, 1, 11, 2, 12, 20, 30, 21, 31, 22, 32}));
    host.layout_recover(nhwc, 2, 2, 3, back);
    EXPECT_EQ(back, nchw);
    return std::string();
  });
}

}  // namespace
}  // namespace kintsugi

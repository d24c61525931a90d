// What a launch may ask for, and what the functional accelerator makes of launches with the unified buffer,
// pooling and passes of the activation unit.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "array/functional_accelerator.h"
#include "array/requantize.h"
#include "common/random.h"
#include "common/thread_pool.h"
#include "tests/support/random_cases.h"

namespace kintsugi {
namespace {

using array::kBufferBase;
using array::LayerLaunch;
using array::VectorLaunch;
using ::testing::HasSubstr;

constexpr std::uint64_t kBuffer = 8192;

configs::ChipConfig chip_with_buffer() {
  configs::ChipConfig chip;
  chip.array.rows = 4;
  chip.array.cols = 4;
  chip.memory.emplace();
  chip.memory->unified_buffer.bytes = kBuffer;
  return chip;
}

configs::ChipConfig ideal_chip() {
  configs::ChipConfig chip = chip_with_buffer();
  chip.memory.reset();
  return chip;
}

// A 3×3 convolution over 6×6 maps of 4 channels, and pooling: everything in DRAM.
LayerLaunch pooled_layer() {
  LayerLaunch launch;
  launch.shape = {.batch = 2, .in_h = 6, .in_w = 6, .in_c = 4, .kernel_h = 3, .kernel_w = 3, .out_c = 4};
  launch.activations = 0x1000;     // 288 bytes
  launch.weights = 0x2000;         // 144
  launch.requantization = 0x3000;  // 64
  launch.output = 0x4000;          // 128
  launch.pool = array::PoolLaunch{{.kernel = 2, .stride = 2, .padding = 0, .out_h = 2, .out_w = 2}, 0x5000};
  launch.relu = true;
  return launch;
}

// "" if the check lets it pass, else its message.
template <class Launch>
std::string refusal(const Launch& launch, const configs::ChipConfig& chip = chip_with_buffer()) {
  try {
    array::check_launch(launch, chip);
    return {};
  } catch (const std::invalid_argument& error) {
    return error.what();
  } catch (const std::out_of_range& error) {
    return std::string("out of range: ") + error.what();
  }
}

std::string refusal_with(const std::function<void(LayerLaunch&)>& change,
                         const configs::ChipConfig& chip = chip_with_buffer()) {
  LayerLaunch launch = pooled_layer();
  change(launch);
  return refusal(launch, chip);
}

TEST(CheckLaunch, lets_good_ones_pass) {
  EXPECT_EQ(refusal(pooled_layer()), "");
  EXPECT_EQ(refusal(pooled_layer(), ideal_chip()), "");
  EXPECT_EQ(refusal_with([](auto& l) {
              l.activations = kBufferBase;
              l.pool->result = kBufferBase + kBuffer - 32;
              l.buffer_offset = 320;
              l.buffer_bytes = kBuffer - 320 - 32;
            }),
            "");
  EXPECT_EQ(refusal_with([](auto& l) {
              l.activations = kBufferBase;
              l.buffer_offset = 288;  // all the rest
            }),
            "");
}

TEST(CheckLaunch, refuses_what_makes_no_layer) {
  EXPECT_THAT(refusal_with([](auto& l) { l.shape.batch = 0; }), HasSubstr("do not fit together"));
  EXPECT_THAT(refusal_with([](auto& l) { l.shape.out_c = std::int64_t{1} << 50; }),
              HasSubstr("do not fit together"));
  EXPECT_THAT(refusal_with([](auto& l) { l.requantization.reset(); }), HasSubstr("ReLU"));
  EXPECT_THAT(refusal_with([](auto& l) {
                l.requantization.reset();
                l.relu = false;
              }),
              HasSubstr("pooling needs requantised results"));
  EXPECT_THAT(refusal_with([](auto& l) { l.pool->window.out_h = 3; }), HasSubstr("pooling windows"));
  EXPECT_EQ(refusal_with([](auto& l) {
              l.pool->window.out_h = 3;
              l.pool->window.padding = 1;
            }),
            "");
  EXPECT_THAT(refusal_with([](auto& l) { l.pool->window.padding = 2; }), HasSubstr("pooling windows"));
  EXPECT_THAT(refusal_with([](auto& l) {
                l.next = array::NextWeights{array::gemm_shape(1, 0, 1), 0};
              }),
              HasSubstr("next layer's sizes"));
}

TEST(CheckLaunch, refuses_results_that_overlap_anything) {
  EXPECT_THAT(refusal_with([](auto& l) { l.output = l.activations + 287; }),
              HasSubstr("output overlaps the activations"));
  EXPECT_EQ(refusal_with([](auto& l) { l.output = l.activations + 288; }), "");
  EXPECT_THAT(refusal_with([](auto& l) { l.output = l.weights - 127; }),
              HasSubstr("output overlaps the weights"));
  EXPECT_THAT(refusal_with([](auto& l) { l.output = *l.requantization + 63; }),
              HasSubstr("output overlaps the requantisation table"));
  EXPECT_THAT(refusal_with([](auto& l) { l.pool->result = l.activations; }),
              HasSubstr("pooled map overlaps the activations"));
  EXPECT_THAT(refusal_with([](auto& l) { l.pool->result = l.weights + 143; }),
              HasSubstr("pooled map overlaps the weights"));
  EXPECT_THAT(refusal_with([](auto& l) { l.pool->result = *l.requantization; }),
              HasSubstr("pooled map overlaps the requantisation table"));
  EXPECT_THAT(refusal_with([](auto& l) { l.pool->result = l.output + 127; }),
              HasSubstr("pooled map overlaps the output"));
}

TEST(CheckLaunch, keeps_the_unified_buffer_for_maps) {
  EXPECT_THAT(refusal_with([](auto& l) { l.weights = kBufferBase; }), HasSubstr("weights must be in DRAM"));
  EXPECT_THAT(refusal_with([](auto& l) { l.requantization = kBufferBase; }),
              HasSubstr("requantisation table must be in DRAM"));
  EXPECT_THAT(refusal_with([](auto& l) { l.output = kBufferBase; }), HasSubstr("output must be in DRAM"));
  EXPECT_EQ(refusal_with([](auto& l) {
              l.output = kBufferBase;
              l.pool.reset();
              l.buffer_offset = 128;
            }),
            "");
  EXPECT_THAT(refusal_with([](auto& l) {
                l.next = array::NextWeights{array::gemm_shape(1, 1, 1), kBufferBase};
              }),
              HasSubstr("next layer's weights must be in DRAM"));
  EXPECT_THAT(refusal_with([](auto& l) { l.activations = kBufferBase; }, ideal_chip()),
              HasSubstr("out of range: launch: the activations, 288 bytes"));
  EXPECT_THAT(refusal_with([](auto& l) { l.buffer_bytes = 64; }, ideal_chip()),
              HasSubstr("which a chip with ideal memory does not have"));
}

TEST(CheckLaunch, keeps_within_the_unified_buffer) {
  EXPECT_THAT(refusal_with([](auto& l) { l.activations = kBufferBase + kBuffer - 287; }),
              HasSubstr("out of range: launch: the activations, 288 bytes"));
  EXPECT_THAT(refusal_with([](auto& l) { l.pool->result = kBufferBase + (std::uint64_t{1} << 60); }),
              HasSubstr("out of range: launch: the pooled map"));
  EXPECT_THAT(refusal_with([](auto& l) { l.activations = kBufferBase - 1; }),
              HasSubstr("run into the unified buffer"));
  EXPECT_THAT(refusal_with([](auto& l) {
                l.buffer_offset = 8096;
                l.buffer_bytes = 97;
              }),
              HasSubstr("a working space of 97 bytes from byte 8096"));
  EXPECT_THAT(refusal_with([](auto& l) { l.buffer_offset = ~std::uint64_t{0}; }), HasSubstr("out of range"));
  EXPECT_THAT(refusal_with([](auto& l) { l.activations = kBufferBase; }),
              HasSubstr("activations lie in the working space of the unified buffer, bytes 0 to 8192"));
  EXPECT_THAT(refusal_with([](auto& l) {
                l.pool->result = kBufferBase + 1000;
                l.buffer_offset = 512;
                l.buffer_bytes = 489;
              }),
              HasSubstr("pooled map lie in the working space of the unified buffer, bytes 512 to 1001"));
}

VectorLaunch sum(std::uint64_t a, std::uint64_t b, std::uint64_t output) {
  VectorLaunch launch;
  launch.rows = 10;
  launch.channels = 7;
  launch.a = a, launch.b = b, launch.output = output;
  launch.add = {3, 5, 4, 8};
  return launch;
}

TEST(CheckLaunch, knows_what_a_pass_of_the_activation_unit_may_be) {
  EXPECT_EQ(refusal(sum(0, 100, 200)), "");
  EXPECT_EQ(refusal(sum(kBufferBase, kBufferBase + 100, kBufferBase + kBuffer - 70)), "");
  EXPECT_EQ(refusal(sum(0, 100, 100)), "") << "in the place of its second operand";
  EXPECT_EQ(refusal(sum(0, 0, 0)), "");
  EXPECT_THAT(refusal(sum(0, 100, 101)), HasSubstr("output overlaps the second operand"));
  EXPECT_THAT(refusal(sum(0, 100, 69)), HasSubstr("output overlaps the first operand"));
  EXPECT_THAT(refusal(sum(kBufferBase, 100, 200), ideal_chip()),
              HasSubstr("with ideal memory there is no unified buffer"));
  EXPECT_THAT(refusal(sum(0, 100, kBufferBase + kBuffer - 69)), HasSubstr("leave the unified buffer"));

  VectorLaunch mixed = sum(kBufferBase, 100, kBufferBase + kBuffer - 70);
  EXPECT_THAT(refusal(mixed), HasSubstr("output lie in the working space"));
  mixed.buffer_offset = 70;
  mixed.buffer_bytes = kBuffer - 140;
  EXPECT_EQ(refusal(mixed), "");
  ++mixed.buffer_bytes;
  EXPECT_THAT(refusal(mixed), HasSubstr("output lie in the working space"));
  mixed.buffer_offset = 69;
  mixed.buffer_bytes = 1;
  EXPECT_THAT(refusal(mixed), HasSubstr("first operand lie in the working space"));
  mixed.buffer_bytes = kBuffer;
  EXPECT_THAT(refusal(mixed), HasSubstr("leaves the unified buffer"));

  const auto with = [](const std::function<void(VectorLaunch&)>& change) {
    VectorLaunch launch = sum(0, 100, 200);
    change(launch);
    return refusal(launch);
  };
  EXPECT_THAT(with([](auto& v) { v.rows = 0; }), HasSubstr("make no map"));
  EXPECT_THAT(with([](auto& v) { v.rows = v.channels = std::int64_t{1} << 30; }), HasSubstr("make no map"));
  EXPECT_THAT(with([](auto& v) { v.add.shift = 63; }), HasSubstr("shift of 63"));
  EXPECT_THAT(with([](auto& v) { v.add.multiplier_b = std::numeric_limits<std::int32_t>::min(); }),
              HasSubstr("multiplier"));
  EXPECT_THAT(with([](auto& v) { v.add.offset = std::numeric_limits<std::int64_t>::min(); }),
              HasSubstr("offset"));

  const auto norm = [](const std::function<void(VectorLaunch&)>& change) {
    VectorLaunch launch = sum(0, 0, 200);
    launch.kind = VectorLaunch::Kind::local_response_norm;
    launch.add.shift = 99;  // of no concern
    change(launch);
    return refusal(launch);
  };
  EXPECT_EQ(norm([](auto&) {}), "");
  EXPECT_THAT(norm([](auto& v) { v.output = 0; }), HasSubstr("output overlaps the first operand"))
      << "neighbours are read after they would be written";
  EXPECT_THAT(norm([](auto& v) { v.relu = true; }), HasSubstr("ReLU"));
  EXPECT_THAT(norm([](auto& v) { v.norm.size = 0; }), HasSubstr("over 0 channels"));
  EXPECT_THAT(norm([](auto& v) { v.norm.k = 0; }), HasSubstr("k 0"));
  EXPECT_THAT(norm([](auto& v) { v.norm_in_scale = -1; }), HasSubstr("scales -1 and 1"));
}

// ---- The functional accelerator ----

std::vector<std::int8_t> read_back(array::FunctionalAccelerator& device, std::uint64_t from,
                                   std::size_t count) {
  std::vector<std::int8_t> values(count);
  device.data_from_device(from, std::as_writable_bytes(std::span(values)));
  return values;
}

TEST(FunctionalAccelerator, has_the_unified_buffer_as_memory) {
  array::FunctionalAccelerator device(chip_with_buffer(), nullptr, 16384);
  EXPECT_EQ(device.buffer_bytes(), kBuffer);
  const std::vector<std::int8_t> data = {1, 2, 3};
  device.data_to_device(kBufferBase + kBuffer - 3, std::as_bytes(std::span(data)));
  EXPECT_EQ(read_back(device, kBufferBase + kBuffer - 3, 3), data);
  EXPECT_EQ(read_back(device, kBuffer - 3, 3), (std::vector<std::int8_t>{0, 0, 0})) << "not DRAM";
  EXPECT_THROW(read_back(device, kBufferBase + kBuffer - 2, 3), std::out_of_range);
  EXPECT_THROW(read_back(device, 16382, 3), std::out_of_range);
  array::FunctionalAccelerator ideal(ideal_chip(), nullptr, 8192);
  EXPECT_EQ(ideal.buffer_bytes(), 0u);
  EXPECT_THROW(read_back(ideal, kBufferBase, 1), std::out_of_range);
}

// The same layer with its operands here or there; pooled by plain loops.
TEST(FunctionalAccelerator, pools_and_finds_its_operands_wherever_they_are) {
  common::RandomStream random(21, "launch");
  const LayerLaunch in_dram = pooled_layer();
  const auto activations = test::random_int8(random, in_dram.shape.activation_bytes()),
             weights = test::random_int8(random, in_dram.shape.weight_bytes());
  std::vector<array::Requantization> table;
  for (int c = 0; c < 4; ++c) table.push_back({37 * (c + 1), 14, 1 << 13});
  LayerLaunch in_buffer = in_dram;
  in_buffer.activations = kBufferBase + 64;
  in_buffer.pool->result = kBufferBase;
  in_buffer.buffer_offset = 512;
  for (const int threads : {1, 2}) {
    common::ThreadPool pool(threads);
    for (const auto& chip : {ideal_chip(), chip_with_buffer()})
      for (const LayerLaunch& launch : {in_dram, in_buffer}) {
        if (!chip.memory && launch.activations >= kBufferBase) continue;
        array::FunctionalAccelerator device(chip, &pool, 1 << 16);
        device.data_to_device(launch.activations, std::as_bytes(std::span(activations)));
        device.data_to_device(launch.weights, std::as_bytes(std::span(weights)));
        device.data_to_device(*launch.requantization, std::as_bytes(std::span(table)));
        const array::LaunchReport report = device.launch(launch);
        EXPECT_GT(report.cycles, 0);
        const auto map = read_back(device, launch.output, 128),
                   pooled = read_back(device, launch.pool->result, 32);
        std::vector<std::int8_t> want_map, want;
        for (int i = 0; i < 128; ++i) {
          const int o = i % 4, x = i / 4 % 4, y = i / 16 % 4, b = i / 64;
          std::int64_t sum = 0;
          for (int ky = 0; ky < 3; ++ky)
            for (int kx = 0; kx < 3; ++kx)
              for (int c = 0; c < 4; ++c)
                sum += activations[((b * 6 + y + ky) * 6 + x + kx) * 4 + c] *
                       weights[((ky * 3 + kx) * 4 + c) * 4 + o];
          const auto q = (sum * table[o].multiplier + table[o].offset) >> 14;
          want_map.push_back(static_cast<std::int8_t>(std::clamp<std::int64_t>(q, 0, 127)));
        }
        for (int i = 0; i < 32; ++i) {
          const int c = i % 4, x = i / 4 % 2, y = i / 8 % 2, b = i / 16;
          const auto at = [&](int dy, int dx) {
            return want_map[((b * 4 + 2 * y + dy) * 4 + 2 * x + dx) * 4 + c];
          };
          want.push_back(std::max({at(0, 0), at(0, 1), at(1, 0), at(1, 1)}));
        }
        ASSERT_EQ(map, want_map);
        ASSERT_EQ(pooled, want);
      }
  }
}

TEST(FunctionalAccelerator, adds_and_normalises) {
  common::RandomStream random(22, "launch");
  const std::int64_t rows = 700, channels = 5, bytes = rows * channels;
  const auto a = test::random_int8(random, bytes), b = test::random_int8(random, bytes);
  std::vector<std::int8_t> want_sum(a.size()), want_norm(a.size());
  VectorLaunch add;
  add.rows = rows, add.channels = channels;
  add.a = kBufferBase + 5, add.b = 4096, add.output = 4096;  // in the place of b
  add.add = {300, 200, 9, 256};
  add.relu = true;
  VectorLaunch norm = add;
  norm.kind = VectorLaunch::Kind::local_response_norm;
  norm.relu = false;
  norm.output = 16384;
  norm.norm = {3, 0.9, 0.75, 1.5};
  norm.norm_in_scale = 0.02, norm.norm_out_scale = 0.01;
  norm.buffer_offset = add.buffer_offset = 4096;
  for (std::size_t i = 0; i < a.size(); ++i)
    want_sum[i] = static_cast<std::int8_t>(
        std::clamp(static_cast<int>(std::floor((a[i] * 300.0 + b[i] * 200.0 + 256.0) / 512)), 0, 127));
  for (std::int64_t i = 0; i < bytes; ++i) {
    double squares = 0;
    for (std::int64_t j = std::max<std::int64_t>(i % channels - 1, 0);
         j <= std::min(i % channels + 1, channels - 1); ++j)
      squares += 0.0004 * a[i - i % channels + j] * a[i - i % channels + j];
    want_norm[i] = static_cast<std::int8_t>(
        std::clamp(std::nearbyint(2 * a[i] / std::pow(1.5 + 0.3 * squares, 0.75)), -127.0, 127.0));
  }
  for (const int threads : {1, 2}) {
    common::ThreadPool pool(threads);
    array::FunctionalAccelerator device(chip_with_buffer(), &pool, 1 << 16);
    device.data_to_device(add.a, std::as_bytes(std::span(a)));
    device.data_to_device(add.b, std::as_bytes(std::span(b)));
    device.launch(norm);
    device.launch(add);
    ASSERT_EQ(read_back(device, add.output, a.size()), want_sum);
    ASSERT_EQ(read_back(device, norm.output, a.size()), want_norm);
    add.add.shift = 0;
    EXPECT_THROW(device.launch(add), std::invalid_argument);
    add.add.shift = 9;
    VectorLaunch outside = add;
    outside.b = 1 << 16;
    EXPECT_THROW(device.launch(outside), std::out_of_range);
  }
}

}  // namespace
}  // namespace kintsugi

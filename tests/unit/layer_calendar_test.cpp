// The calendar of the memory system against arithmetic done by hand. Random chips, the platform and a naive
// simulation: tests/equivalence/memory_test.cpp.
#include "array/layer_calendar.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "common/diagnostics.h"
#include "configs/chip.h"

namespace kintsugi {
namespace {

using array::CycleBreakdown;
using array::LaunchReport;
using array::LayerCalendar;
using array::LayerLaunch;

LayerLaunch int8_gemm(std::int64_t m, std::int64_t k, std::int64_t n) {
  LayerLaunch launch;
  launch.shape = array::gemm_shape(m, k, n);
  launch.activations = 0x1000'0000;
  launch.weights = 0x2000'0000;
  launch.requantization = 0x3000'0000;
  launch.output = 0x4000'0000;
  return launch;
}

// 4×4, a byte a cycle from DRAM, everything else ample.
configs::ChipConfig small_chip() {
  configs::ChipConfig chip;
  chip.array.rows = chip.array.cols = 4;
  chip.clock_mhz = 1000;
  chip.memory.emplace();
  chip.memory->dram = {.bandwidth_gb_s = 1, .latency_ns = 0, .burst_bytes = 1, .row_buffer = {}};
  chip.memory->dma = {.outstanding = 4, .transfer_bytes = 64};
  chip.memory->unified_buffer = {.bytes = 4096, .bytes_per_cycle = 64};
  chip.memory->activation_unit_width = 4;
  return chip;
}

TEST(LayerCalendar, a_single_tile_by_hand) {
  // Weights 4×4 from 0 to 16, activations 3×4 from 16 to 28; load from 16 to 20; stream from 28, fed at 31,
  // out at 28 + 3 + 4 + 4 − 2 = 37; 12 elements drained by 40; 12 bytes written by 52.
  LayerCalendar calendar(small_chip());
  const LaunchReport report = calendar.run(int8_gemm(3, 4, 4));
  const CycleBreakdown expected{.active = 3,
                                .weight_shift = 4,
                                .pipeline = 6,
                                .stall_weights = 16,
                                .stall_activations = 8,
                                .stall_accumulators = 0,
                                .stall_output = 15};
  EXPECT_TRUE(report.breakdown == expected);
  EXPECT_EQ(report.cycles, 52);
  EXPECT_EQ(report.traffic.dram_weight_bytes, 16);
  EXPECT_EQ(report.traffic.dram_activation_bytes, 12);
  EXPECT_EQ(report.traffic.dram_output_bytes, 12);
  EXPECT_EQ(report.traffic.dram_bus_bytes, 40);
  // In by DMA, read by the stream, written by the activation unit, out by DMA.
  EXPECT_EQ(report.traffic.buffer_bytes, 12 + 12 + 12 + 12);
}

TEST(LayerCalendar, one_half_of_the_accumulators_waits_for_its_drain) {
  // One entry: a block is one position. Each drain takes four cycles at one element a cycle, and the next
  // stream may not begin before it.
  configs::ChipConfig chip = small_chip();
  chip.memory->dram.bandwidth_gb_s = 1000;
  chip.memory->activation_unit_width = 1;
  chip.memory->accumulators = {.entries = 1, .double_buffer = false};
  LayerCalendar calendar(chip);
  const LaunchReport report = calendar.run(int8_gemm(2, 4, 4));
  // Operands are there in cycle 1; loads 1–5 and 5–9. Stream 1 in 5, out at 5 + 1 + 6 = 12, drained at 16.
  // Stream 2 in 16, out at 23, drained at 27, written at 28.
  const CycleBreakdown expected{.active = 2,
                                .weight_shift = 4 + 3,
                                .pipeline = 6,
                                .stall_weights = 1,
                                .stall_activations = 0,
                                .stall_accumulators = 7,
                                .stall_output = 5};
  EXPECT_TRUE(report.breakdown == expected);
  EXPECT_EQ(report.cycles, 28);
}

TEST(LayerCalendar, weights_bind_a_fully_connected_layer_of_the_default_chip) {
  const configs::ChipConfig chip =
      configs::read_chip(std::filesystem::path(KINTSUGI_SOURCE_DIR) / "configs/chips/tpu256.yaml");
  ASSERT_TRUE(chip.memory);
  LayerCalendar calendar(chip);
  const auto cycles = [&](std::int64_t tiles) {
    return calendar.run(int8_gemm(200, 256 * tiles, 256)).cycles;
  };
  // 65,536 B / 34 GB/s at 700 MHz: 1349.27 cycles a tile in the limit, 200 · 65,536 MACs in each: 13.6 TOPS.
  const auto between = static_cast<double>(cycles(300) - cycles(100));
  const double activations = 200 * 200 * 256 / 34e9 * 700e6;  // they come over the same bus
  EXPECT_NEAR((between - activations) / 200, 65536 / 34e9 * 700e6, 0.01);

  LayerLaunch kept = int8_gemm(200, 256 * 64, 256);
  kept.activations = array::kBufferBase;
  kept.output = array::kBufferBase + (8 << 20);
  kept.buffer_offset = 16 << 20;
  const LaunchReport report = calendar.run(kept);
  const double tops =
      2e-6 * static_cast<double>(kept.shape.macs()) * 700 / static_cast<double>(report.cycles);
  EXPECT_LT(tops, 13.6);
  EXPECT_GT(tops, 13.3);
  EXPECT_GT(report.breakdown.stall_weights, report.cycles * 6 / 10);
}

TEST(LayerCalendar, an_input_that_does_not_fit_is_fetched_for_every_n_tile) {
  configs::ChipConfig chip = small_chip();
  LayerLaunch launch = int8_gemm(64, 8, 12);  // 512 bytes of input, three n-tiles
  const auto fetched = [&] { return LayerCalendar(chip).run(launch).traffic.dram_activation_bytes; };
  EXPECT_EQ(fetched(), 512);
  chip.memory->unified_buffer.bytes = 512;  // staging needs room as well
  EXPECT_EQ(fetched(), 3 * 512);
  chip.memory->unified_buffer.bytes = 24;  // chunks of one position: two slabs of 8 and two results of 4
  EXPECT_EQ(fetched(), 3 * 512);
  chip.memory->unified_buffer.bytes = 23;
  try {
    fetched();
    FAIL() << "a buffer that cannot hold the layer's least was accepted";
  } catch (const common::InputError& error) {
    EXPECT_STREQ(
        error.what(),
        "a layer of M 64, K 8, N 12 needs at least 24 bytes of the unified buffer at once, but has 23; "
        "give the chip a larger 'memory: unified_buffer: size_kib'");
  }
}

TEST(LayerCalendar, a_repeated_launch_costs_the_same_and_an_open_row_is_remembered) {
  configs::ChipConfig chip = small_chip();
  LayerCalendar plain(chip);
  const LayerLaunch launch = int8_gemm(3, 4, 4);
  EXPECT_EQ(plain.run(launch).cycles, plain.run(launch).cycles);

  chip.memory->dram.row_buffer = configs::RowBufferConfig{.banks = 4, .row_bytes = 64, .miss_ns = 10};
  LayerCalendar rows(chip);
  LayerLaunch one_row = launch;  // operands and result in one row
  one_row.activations = 0;
  one_row.weights = 16;
  one_row.output = 32;
  const LaunchReport first = rows.run(one_row), second = rows.run(one_row);
  EXPECT_EQ(first.traffic.row_misses, 1);
  EXPECT_EQ(second.traffic.row_misses, 0);
  EXPECT_EQ(first.cycles - second.cycles, 10);
}

TEST(LayerCalendar, the_next_layers_weights_come_early_if_the_chip_overlaps_layers) {
  configs::ChipConfig chip = small_chip();
  LayerLaunch first = int8_gemm(3, 4, 4), second = first;
  second.weights += 4096;
  first.next = array::NextWeights{second.shape, second.weights};
  LayerCalendar apart(chip);
  apart.run(first);
  EXPECT_EQ(apart.run(second).breakdown.stall_weights, 16);

  chip.memory->layer_overlap = true;
  LayerCalendar together(chip);
  const LaunchReport before = together.run(first), after = together.run(second);
  EXPECT_EQ(before.traffic.dram_weight_bytes, 32);
  EXPECT_EQ(after.traffic.dram_weight_bytes, 0);
  EXPECT_EQ(after.breakdown.stall_weights, 0);
}

}  // namespace
}  // namespace kintsugi

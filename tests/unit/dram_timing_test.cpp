// DRAM's bus by hand: every expected cycle is worked out in the comment beside it.
#include "memory/dram_timing.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <stdexcept>

namespace kintsugi {
namespace {

using configs::DramConfig;
using memory::DramTiming;

DramConfig dram(double bandwidth_gb_s, double latency_ns = 0, std::int64_t burst_bytes = 64) {
  DramConfig config;
  config.bandwidth_gb_s = bandwidth_gb_s;
  config.latency_ns = latency_ns;
  config.burst_bytes = burst_bytes;
  return config;
}

TEST(DramTiming, AWeightTileOfTheTpuTakes1350Cycles) {
  // 700 MHz / 34 GB/s = 7/340 cycles per byte; 65536 · 7 / 340 = 1349.27.
  DramTiming timing(dram(34), 700);
  EXPECT_EQ(timing.serve(0, 0, 65536), 1350);
  EXPECT_EQ(timing.bus_bytes(), 65536);
}

TEST(DramTiming, TransfersBackToBackShareFractionsOfCycles) {
  // Ends on the bus: 1349.27, 2698.54, 4047.81, 5397.08. Rounded apart it would be 1350 each, 5400.
  DramTiming timing(dram(34), 700);
  EXPECT_EQ(timing.serve(0, 0, 65536), 1350);
  EXPECT_EQ(timing.serve(0, 65536, 65536), 2699);
  EXPECT_EQ(timing.serve(1350, 131072, 65536), 4048) << "issued as the first completed, the bus never paused";
  EXPECT_EQ(timing.serve(4047, 196608, 65536), 5398) << "one cycle before the bus is free";
  // 5397.082…: issued at 5397 it still continues the fraction, 5397.082 + 1349.271 = 6746.353; at 5398 it
  // begins on a whole cycle, 5398 + 1349.271 = 6747.271.
  DramTiming late = timing;
  EXPECT_EQ(timing.serve(5397, 0, 65536), 6747);
  EXPECT_EQ(late.serve(5398, 0, 65536), 6748);
}

TEST(DramTiming, APauseStartsOnAWholeCycle) {
  // 750 MHz and 1 GB/s: 3/4 cycles per byte.
  DramTiming timing(dram(1, 0, 1), 750);
  EXPECT_EQ(timing.serve(0, 0, 1), 1);    // 0.75
  EXPECT_EQ(timing.serve(0, 1, 1), 2);    // 1.5
  EXPECT_EQ(timing.serve(0, 2, 2), 3);    // 3.0: no rounding up of a whole number
  EXPECT_EQ(timing.serve(3, 4, 4), 6);    // 6.0
  EXPECT_EQ(timing.serve(10, 8, 1), 11);  // 10.75, not 6.75
  EXPECT_EQ(timing.serve(11, 9, 4), 14);  // 14.0, not 10.75 + 3
}

TEST(DramTiming, PaysWholeBursts) {
  // One byte per cycle.
  struct Case {
    std::uint64_t address;
    std::int64_t bytes, burst_bytes_paid;
  };
  for (const Case& c : {Case{0, 1, 64}, Case{63, 1, 64}, Case{63, 2, 128}, Case{64, 64, 64}, Case{1, 64, 128},
                        Case{60, 72, 192}, Case{0, 65, 128}}) {
    DramTiming timing(dram(1), 1000);
    EXPECT_EQ(timing.serve(5, c.address, c.bytes), 5 + c.burst_bytes_paid) << c.address << "+" << c.bytes;
    EXPECT_EQ(timing.bus_bytes(), c.burst_bytes_paid);
    EXPECT_EQ(timing.row_hits() + timing.row_misses(), 0) << "no row buffer, no counts";
  }
}

TEST(DramTiming, LatencyDelaysArrivalButNotTheBus) {
  // 100 ns at 700 MHz are 70 cycles; 100.1 ns are 70.07, so 71. One burst takes 64 · 7/340 = 1.32 cycles.
  DramTiming exact(dram(34, 100), 700), above(dram(34, 100.1), 700);
  EXPECT_EQ(exact.serve(0, 0, 64), 72);
  EXPECT_EQ(above.serve(0, 0, 64), 73);
  EXPECT_EQ(exact.serve(0, 64, 64), 73) << "2.64 on the bus: it did not wait for the first to arrive";
  // Decimal fractions that are no binary ones: 0.3 ns · 10 GHz = 3 cycles and 1.1 ns · 10 GHz = 11, exactly.
  EXPECT_EQ(DramTiming(dram(640, 0.3), 10000).serve(0, 0, 64), 4);
  EXPECT_EQ(DramTiming(dram(640, 1.1), 10000).serve(0, 0, 64), 12);
}

TEST(DramTiming, RowsStayOpenUntilTheirBankOpensAnother) {
  // One byte per cycle, bursts of 64, rows of 256 in 2 banks: rows 0, 2, 4 … in bank 0. A miss costs 30
  // cycles.
  DramConfig config = dram(1);
  config.row_buffer = configs::RowBufferConfig{.banks = 2, .row_bytes = 256, .miss_ns = 30};
  DramTiming timing(config, 1000);
  EXPECT_EQ(timing.serve(0, 0, 64), 94) << "row 0: nothing was open";
  EXPECT_EQ(timing.serve(94, 64, 64), 158) << "row 0 is open";
  EXPECT_EQ(timing.serve(158, 256, 64), 252) << "row 1, the other bank";
  EXPECT_EQ(timing.serve(252, 128, 64), 316) << "row 0 still is";
  EXPECT_EQ(timing.serve(316, 512, 64), 410) << "row 2 closes row 0";
  EXPECT_EQ(timing.serve(410, 320, 64), 474) << "row 1 still is";
  EXPECT_EQ(timing.serve(474, 0, 64), 568) << "row 0 no longer";
  EXPECT_EQ(timing.row_hits(), 3);
  EXPECT_EQ(timing.row_misses(), 4);
  // 192 … 831: one burst of row 0 (open), rows 1 (open), 2 (closes 0), one burst of row 3 (closes 1).
  EXPECT_EQ(timing.serve(568, 192, 640), 568 + 640 + 2 * 30);
  EXPECT_EQ(timing.row_hits(), 3 + 8);
  EXPECT_EQ(timing.row_misses(), 4 + 2);
  EXPECT_EQ(timing.bus_bytes(), 7 * 64 + 640);
}

TEST(DramTiming, AMissHoldsTheBusForWholeCyclesInFrontOfAFraction) {
  // 3/4 cycles per byte, bursts of 1 byte, rows of 4 in one bank; 10 ns at 750 MHz are 7.5, so 8 cycles.
  DramConfig config = dram(1, 0, 1);
  config.row_buffer = configs::RowBufferConfig{.banks = 1, .row_bytes = 4, .miss_ns = 10};
  DramTiming timing(config, 750);
  EXPECT_EQ(timing.serve(0, 0, 1), 9);   // 8.75
  EXPECT_EQ(timing.serve(0, 4, 1), 18);  // 8.75 + 8.75 = 17.5
  EXPECT_EQ(timing.serve(0, 5, 2), 19);  // 19.0, open
}

TEST(DramTiming, LargeNumbersStayExact) {
  // 1 TiB at 34 GB/s and 700 MHz: 2^40 · 7 / 340 = 22,637,004,101.27; twice is 45,274,008,202.54.
  const std::int64_t tebibyte = std::int64_t{1} << 40;
  DramTiming timing(dram(34), 700);
  EXPECT_EQ(timing.serve(0, 0, tebibyte), 22'637'004'102);
  EXPECT_EQ(timing.serve(0, std::uint64_t{1} << 63, tebibyte), 45'274'008'203);
  EXPECT_EQ(timing.bus_bytes(), 2 * tebibyte);
  // Clock and bandwidth without a common factor, 699,999 kHz and 34,000,001 kB/s: 22,636,971,096.90003.
  DramTiming odd(dram(34.000001), 699.999);
  EXPECT_EQ(odd.serve(0, 0, tebibyte), 22'636'971'097);
  // 4,999,999 kHz and 999,999,937 kB/s, 2^50 bytes: 5,629,498,762,971.635, of a product 73 bits wide.
  DramTiming wide(dram(999.999937), 4999.999);
  EXPECT_EQ(wide.serve(0, 0, std::int64_t{1} << 50), 5'629'498'762'972);
}

TEST(DramTiming, RefusesAClockOrABandwidthOfNothing) {
  EXPECT_THROW(DramTiming(dram(0), 700), std::invalid_argument);
  EXPECT_THROW(DramTiming(dram(34), 0), std::invalid_argument);
  EXPECT_THROW(DramTiming(dram(1e-7), 700), std::invalid_argument) << "not even a kB/s";
}

}  // namespace
}  // namespace kintsugi

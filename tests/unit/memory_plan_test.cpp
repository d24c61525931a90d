// What stays in the unified buffer: places, live ranges, room for the layer that runs.
#include "workloads/memory_plan.h"

#include <gtest/gtest.h>

#include "common/random.h"
#include "tests/support/small_networks.h"

namespace kintsugi {
namespace {

using namespace kintsugi::testing;  // builders of small networks
using workloads::BufferPlan;
using workloads::BufferSpace;
using workloads::BufferTenant;

std::int64_t no_need(std::size_t, const BufferPlan&) {
  return 0;
}

using Homes = std::vector<std::optional<std::uint64_t>>;

TEST(PlanBuffer, gives_the_lowest_free_place) {
  const std::vector<BufferTenant> tenants = {{100, 0, 1}, {60, 1, 2}, {128, 2, 3},
                                             {130, 2, 3}, {40, 3, 4}, {1, 4, 4}};
  const BufferPlan plan = workloads::plan_buffer(tenants, 5, 512, no_need);
  // They take up 128, 64, 128, 192, 64 and 64 bytes; the third and fifth move in where others have left.
  EXPECT_EQ(plan.homes, (Homes{0, 128, 0, 192, 128, 0}));
  EXPECT_EQ(plan.free,
            (std::vector<BufferSpace>{{128, 384}, {192, 320}, {384, 128}, {384, 128}, {192, 320}}));
}

TEST(PlanBuffer, leaves_a_quarter_and_what_the_step_needs) {
  const std::vector<BufferTenant> tenants = {{256, 0, 1}, {128, 1, 2}, {64, 1, 1}};
  EXPECT_EQ(workloads::plan_buffer(tenants, 3, 512, no_need).homes, (Homes{0, 256, std::nullopt}));
  const auto need = [](std::int64_t bytes) {
    return [bytes](std::size_t step, const BufferPlan&) { return step == 1 ? bytes : 0; };
  };
  EXPECT_EQ(workloads::plan_buffer(tenants, 3, 512, need(192)).homes, (Homes{0, std::nullopt, 256}));
  EXPECT_EQ(workloads::plan_buffer(tenants, 3, 512, need(257)).homes, (Homes{std::nullopt, 0, 128}));
  // Nothing helps a step that needs more than there is.
  EXPECT_EQ(workloads::plan_buffer(tenants, 3, 512, need(513)).homes, (Homes{0, 256, std::nullopt}));
}

TEST(PlanBuffer, keeps_one_gap_not_the_sum_of_several) {
  // 0 … 192 leaves while 192 … 384 stays: two gaps of 192 and 128 bytes around it.
  const std::vector<BufferTenant> tenants = {{192, 0, 0}, {192, 0, 2}, {100, 1, 2}, {64, 2, 2}};
  const BufferPlan plan = workloads::plan_buffer(tenants, 3, 512, no_need);
  EXPECT_EQ(plan.homes, (Homes{0, 192, 0, 128}));
  EXPECT_EQ(plan.free, (std::vector<BufferSpace>{{384, 128}, {384, 128}, {384, 128}}));
}

TEST(PlanBuffer, holds_its_promises_for_random_tenants) {
  common::RandomStream random(6, "plan");
  const auto below = [&](std::uint64_t n) { return static_cast<std::int64_t>(random.below(n)); };
  for (int round = 0; round < 500; ++round) {
    const std::uint64_t capacity = 64 * (1 + random.below(64));
    const std::size_t steps = 1 + random.below(8);
    std::vector<BufferTenant> tenants;
    for (std::int64_t n = below(10); n > 0; --n) {
      const std::size_t first = random.below(steps), last = first + random.below(steps - first);
      tenants.push_back({1 + below(capacity), first, last});
    }
    std::vector<std::int64_t> needs;
    for (std::size_t s = 0; s < steps; ++s) needs.push_back(below(capacity + capacity / 4));
    const BufferPlan plan = workloads::plan_buffer(
        tenants, steps, capacity, [&](std::size_t s, const BufferPlan&) { return needs[s]; });
    for (std::size_t step = 0; step < steps; ++step) {
      // Byte by byte (blocks of 64): nothing is held twice, the gap is free, and no larger one exists.
      std::vector<int> held(capacity / 64, 0);
      bool any = false;
      for (std::size_t t = 0; t < tenants.size(); ++t) {
        if (!plan.homes[t] || step < tenants[t].first || step > tenants[t].last) continue;
        any = true;
        ASSERT_EQ(*plan.homes[t] % 64, 0u);
        for (std::int64_t byte = 0; byte < tenants[t].bytes; byte += 64)
          ASSERT_EQ(held.at((*plan.homes[t] + static_cast<std::uint64_t>(byte)) / 64)++, 0);
      }
      std::uint64_t run = 0, longest = 0;
      for (const int h : held) longest = std::max(longest, run = h ? 0 : run + 64);
      ASSERT_EQ(plan.free[step].bytes, longest);
      for (std::uint64_t b = 0; b < plan.free[step].bytes; b += 64)
        ASSERT_EQ(held.at((plan.free[step].offset + b) / 64), 0);
      if (!any) continue;
      ASSERT_GE(4 * longest, capacity);
      if (const auto need = static_cast<std::uint64_t>(needs[step]); need <= capacity) {
        ASSERT_GE(longest, need);
      }
    }
  }
}

configs::ChipConfig chip_with(std::int64_t bytes) {
  configs::ChipConfig chip;
  chip.array.rows = 7;
  chip.array.cols = 5;
  chip.memory.emplace();
  chip.memory->unified_buffer.bytes = bytes;
  return chip;
}

std::vector<bool> kept(const workloads::MemoryPlan& plan) {
  std::vector<bool> result;
  for (const auto& home : plan.homes) result.push_back(home.has_value());
  return result;
}

TEST(PlanMemory, keeps_what_the_chip_reads_again) {
  const auto network = [](bool unit) {
    const auto where = [&](configs::LayerConfig l) { return unit ? on_unit(l) : l; };
    return network_of(3, 8, 8,
                      {conv("c1", 6, 3, 1, 1), relu(), named(max_pool(2, 2), "p"),  // read by c2 and the add
                       conv("c2", 6, 3, 1, 1), where(add("s", "c2", "p")), named(relu(), "r"),
                       conv("c3", 6, 1),                                     // read by a normalisation
                       where(response_norm("n", 3, 0.5)),                    // read by c4
                       conv("c4", 4, 3), relu(), max_pool(2, 2), flatten(),  // 1×1: no reorder
                       linear("f1", 9), relu(), linear("f2", 3)});
  };
  const auto chip = chip_with(1 << 16);
  EXPECT_EQ(kept(workloads::plan_memory(network(true), 4, chip)),
            (std::vector<bool>{true, true, true, true, true, true, true, false}));
  // The host reads p, c2 and c3, and writes s and n.
  EXPECT_EQ(kept(workloads::plan_memory(network(false), 4, chip)),
            (std::vector<bool>{false, false, false, false, false, true, true, false}));
  configs::ChipConfig ideal = chip;
  ideal.memory.reset();
  const auto none = workloads::plan_memory(network(true), 4, ideal);
  EXPECT_EQ(kept(none), std::vector<bool>(8, false));
  EXPECT_EQ(none.work, std::vector<BufferSpace>(8));
}

TEST(PlanMemory, leaves_to_dram_what_the_host_reworks) {
  // Flatten of 2×2 maps; global average; max-pool behind a normalisation and behind a sum.
  const auto chip = chip_with(1 << 16);
  EXPECT_EQ(kept(workloads::plan_memory(network_of(1, 6, 6,
                                                   {conv("c", 4, 3), relu(), max_pool(2, 2), flatten(),
                                                    linear("f", 5), relu(), linear("g", 3)}),
                                        2, chip)),
            (std::vector<bool>{false, true, false}));
  EXPECT_EQ(kept(workloads::plan_memory(
                network_of(1, 6, 6,
                           {conv("c", 4, 3), relu(), on_unit(response_norm("n", 3, 1.0)), max_pool(2, 2),
                            conv("d", 4, 1), relu(), global_average(), flatten(), linear("f", 3)}),
                2, chip)),
            (std::vector<bool>{true, false, false, false}));
}

TEST(PlanMemory, plans_for_the_whole_batch_and_frees_after_the_last_reader) {
  // Maps of 8×8×4 = 256 bytes an image; batch 4: 1024 bytes each.
  const auto network = network_of(
      4, 8, 8, {conv("a", 4, 1), conv("b", 4, 1), conv("c", 4, 1), conv("d", 4, 1), global_average()});
  const auto chip = chip_with(4096);
  const auto plan = workloads::plan_memory(network, 4, chip);
  EXPECT_EQ(plan.homes, (Homes{0, 1024, 0, std::nullopt}));
  EXPECT_EQ(plan.work, (std::vector<BufferSpace>{{1024, 3072}, {2048, 2048}, {2048, 2048}, {1024, 3072}}));
  // Too large for all but a quarter.
  EXPECT_EQ(workloads::plan_memory(network, 13, chip).homes, Homes(4));
}

}  // namespace
}  // namespace kintsugi

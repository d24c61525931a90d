// Grouping against two witnesses: the same greedy rule written with sets and nothing kept, and every way to
// part a few chips.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <set>
#include <vector>

#include "common/random.h"
#include "training/reduce/grouping.h"

namespace kintsugi::training::reduce {
namespace {

constexpr std::int64_t kPes = 200;

struct Chip {
  std::set<int> bypassed;
  std::int64_t steps = 0;
  double cost = 0;
};
using Lot = std::vector<Chip>;

GroupCandidate candidate(const Chip& chip) {
  std::vector<std::uint8_t> bytes(kPes);
  for (const int pe : chip.bypassed) bytes[static_cast<std::size_t>(pe)] = 1;
  return {packed_bits(bytes), chip.steps, chip.cost};
}

std::vector<FusedGroup> grouped(const Lot& lot, const FusedCostOf& cost, const GroupOptions& options) {
  std::vector<GroupCandidate> candidates;
  for (const Chip& chip : lot) candidates.push_back(candidate(chip));
  return group_chips(candidates, cost, options);
}

std::set<int> united(const Lot& lot, const std::vector<std::size_t>& members) {
  std::set<int> pes;
  for (const std::size_t member : members)
    pes.insert(lot[member].bypassed.begin(), lot[member].bypassed.end());
  return pes;
}

// Cost of one network for these chips, or of a single chip alone.
double cost_of(const Lot& lot, const std::vector<std::size_t>& members, const FusedCostOf& cost) {
  if (members.size() == 1) return lot[members[0]].cost;
  const auto fused = cost(std::ssize(united(lot, members)));
  if (!fused) return INFINITY;
  std::int64_t steps = fused->steps;
  for (const std::size_t member : members) steps = std::max(steps, lot[member].steps);
  return static_cast<double>(steps) + fused->beside;
}

// Merging the best pair of all pairs, all counted anew every time.
std::vector<std::vector<std::size_t>> greedy(const Lot& lot, const FusedCostOf& cost, std::size_t max_chips) {
  std::vector<std::vector<std::size_t>> groups;
  for (std::size_t i = 0; i < lot.size(); ++i) groups.push_back({i});
  for (;;) {
    double best = -INFINITY;
    std::size_t a = 0, b = 0;
    for (std::size_t i = 0; i < groups.size(); ++i)
      for (std::size_t j = i + 1; j < groups.size(); ++j) {
        std::vector<std::size_t> both = groups[i];
        both.insert(both.end(), groups[j].begin(), groups[j].end());
        if (both.size() > max_chips) continue;
        const double gain =
            cost_of(lot, groups[i], cost) + cost_of(lot, groups[j], cost) - cost_of(lot, both, cost);
        if (gain > best) best = gain, a = i, b = j;
      }
    if (best < 1) break;
    groups[a].insert(groups[a].end(), groups[b].begin(), groups[b].end());
    std::sort(groups[a].begin(), groups[a].end());
    groups.erase(groups.begin() + static_cast<std::ptrdiff_t>(b));
  }
  return groups;
}

// The least total cost of all ways to part the chips.
double least_total(const Lot& lot, const FusedCostOf& cost) {
  double least = INFINITY;
  std::vector<std::vector<std::size_t>> groups;
  const std::function<void(std::size_t)> place = [&](std::size_t chip) {
    if (chip == lot.size()) {
      double total = 0;
      for (const auto& group : groups) total += cost_of(lot, group, cost);
      least = std::min(least, total);
      return;
    }
    for (std::size_t g = 0; g < groups.size(); ++g) {
      groups[g].push_back(chip);
      place(chip + 1);
      groups[g].pop_back();
    }
    groups.push_back({chip});
    place(chip + 1);
    groups.pop_back();
  };
  place(0);
  return least;
}

// Nothing below 20 PEs, rising to 400 steps at 100, none from 150 on; a repair beside it.
std::optional<FusedCost> curve(std::int64_t pes) {
  if (pes >= 150) return std::nullopt;
  const double rising = 400 * std::sqrt(std::clamp((static_cast<double>(pes) - 20) / 80, 0.0, 1.0));
  return FusedCost{static_cast<std::int64_t>(std::ceil(rising)), 3 + 0.1 * static_cast<double>(pes)};
}

// A staircase, with which many mergers gain the same.
std::optional<FusedCost> stairs(std::int64_t pes) {
  if (pes >= 150) return std::nullopt;
  return FusedCost{100 * (pes / 25), 0};
}

// Chips of a few families: each has part of its family's PEs, and some of its own.
Lot random_lot(std::size_t chips, std::uint64_t seed, const FusedCostOf& cost = curve) {
  common::RandomStream random(seed, "lot");
  std::vector<std::set<int>> families(3);
  for (auto& family : families)
    for (int i = 0; i < 50; ++i) family.insert(static_cast<int>(random.below(kPes)));
  Lot lot(chips);
  for (Chip& chip : lot) {
    for (const int pe : families[random.below(families.size())])
      if (random.below(10) < 8) chip.bypassed.insert(pe);
    for (std::uint64_t own = random.below(20); own > 0; --own)
      chip.bypassed.insert(static_cast<int>(random.below(kPes)));
    chip.steps = std::max<std::int64_t>(25, cost(std::ssize(chip.bypassed))->steps);
    if (random.below(4) == 0) chip.steps += 150;  // missed the constraint by more than the curve says
    chip.cost = static_cast<double>(chip.steps);
  }
  return lot;
}

TEST(Grouping, MergesAsTheSameRuleWithNothingKept) {
  std::size_t merged = 0, larger = 0;
  for (std::uint64_t seed = 1; seed <= 60; ++seed)
    for (const std::size_t most : {2u, 3u, 4u, 8u}) {
      const FusedCostOf cost = seed % 2 == 0 ? curve : stairs;
      const Lot lot = random_lot(3 + seed % 14, seed, cost);
      const auto groups = grouped(lot, cost, {static_cast<std::int64_t>(most)});
      std::vector<std::vector<std::size_t>> expected;
      for (auto& group : greedy(lot, cost, most))
        if (group.size() > 1) expected.push_back(group);
      ASSERT_EQ(groups.size(), expected.size()) << seed;
      for (std::size_t g = 0; g < groups.size(); ++g) {
        const auto& members = groups[g].members;
        ASSERT_EQ(members, expected[g]) << seed;
        EXPECT_EQ(groups[g].bypassed_pes, std::ssize(united(lot, members)));
        double alone = 0;
        std::int64_t steps = cost(groups[g].bypassed_pes)->steps;
        for (const std::size_t member : members) {
          alone += lot[member].cost;
          steps = std::max(steps, lot[member].steps);
        }
        EXPECT_EQ(groups[g].steps, steps);
        EXPECT_NEAR(groups[g].saving, alone - cost_of(lot, members, cost), 1e-9);
        EXPECT_GE(groups[g].saving, 1);
        ++merged;
        larger += members.size() > 2 ? 1 : 0;
      }
    }
  EXPECT_GT(merged, 100u);
  EXPECT_GT(larger, 30u);
}

TEST(Grouping, IsNotFarFromTheBestOfAllWays) {
  double saved = 0, could = 0;
  for (std::uint64_t seed = 1; seed <= 40; ++seed) {
    const Lot lot = random_lot(2 + seed % 6, 100 + seed);
    double alone = 0, total = 0;
    for (const Chip& chip : lot) alone += chip.cost;
    total = alone;
    for (const FusedGroup& group : grouped(lot, curve, {8})) total -= group.saving;
    const double least = least_total(lot, curve);
    EXPECT_GE(total, least - 1e-9) << seed;
    EXPECT_LE(total, alone) << seed;
    if (lot.size() == 2) {
      EXPECT_NEAR(total, alone - least >= 1 ? least : alone, 1e-9) << seed;
    }
    saved += alone - total;
    could += alone - least;
  }
  EXPECT_GT(could, 0);
  EXPECT_GE(saved, 0.9 * could);
}

Chip chip(int first, int count, std::int64_t steps) {
  Chip result;
  for (int i = 0; i < count; ++i) result.bypassed.insert(first + i);
  result.steps = steps;
  result.cost = static_cast<double>(steps);
  return result;
}

TEST(Grouping, LeavesAloneWhatWouldCostMore) {
  // 100 + 100 PEs that do not overlap: no network has both.
  EXPECT_TRUE(grouped({chip(0, 100, 400), chip(100, 100, 400)}, curve, {8}).empty());
  // The same PEs twice: one network for both.
  const auto steps = curve(60)->steps;
  const auto same = grouped({chip(0, 60, steps), chip(0, 60, steps)}, curve, {8});
  ASSERT_EQ(same.size(), 1u);
  EXPECT_EQ(same[0].steps, steps);
  EXPECT_NEAR(same[0].saving, static_cast<double>(steps) - 9, 1e-9);  // a repair of 60 PEs: 3 + 6
  // A chip that costs next to nothing alone is left alone.
  EXPECT_TRUE(grouped({chip(0, 60, steps), chip(60, 60, 1)}, curve, {8}).empty());
  EXPECT_TRUE(grouped({}, curve, {8}).empty());
}

TEST(Grouping, NeverPlansLessThanAChipAloneWasGiven) {
  // A chip that measurably misses the constraint is given more than the curve says.
  const auto groups = grouped({chip(0, 30, 300), chip(0, 30, 200)}, curve, {8});
  ASSERT_EQ(groups.size(), 1u);
  EXPECT_EQ(groups[0].steps, 300);
  EXPECT_NEAR(groups[0].saving, 200 - 6, 1e-9);
}

TEST(Grouping, OfEqualGainsTakesTheFirstChips) {
  const Lot lot(5, chip(0, 60, 283));
  const auto groups = grouped(lot, curve, {2});
  ASSERT_EQ(groups.size(), 2u);
  EXPECT_EQ(groups[0].members, (std::vector<std::size_t>{0, 1}));
  EXPECT_EQ(groups[1].members, (std::vector<std::size_t>{2, 3}));
}

// Lots, found by trying, in which a merger gains just what another chip's best one does, and the order tells.
TEST(Grouping, OfEqualGainsTakesTheFirstGroupsToo) {
  for (const std::uint64_t seed : {598u, 730u, 958u, 1063u})
    for (const std::size_t most : {4u, 8u}) {
      const Lot lot = random_lot(3 + seed % 8, seed, stairs);
      std::vector<std::vector<std::size_t>> expected, found;
      for (auto& group : greedy(lot, stairs, most))
        if (group.size() > 1) expected.push_back(group);
      for (auto& group : grouped(lot, stairs, {static_cast<std::int64_t>(most)}))
        found.push_back(group.members);
      EXPECT_EQ(found, expected) << seed;
    }
}

TEST(Grouping, StaysWithinItsParts) {
  const Lot lot(6, chip(0, 60, 283));
  GroupOptions options{8, 4};
  const auto groups = grouped(lot, curve, options);
  ASSERT_EQ(groups.size(), 2u);
  EXPECT_EQ(groups[0].members, (std::vector<std::size_t>{0, 1, 2, 3}));
  EXPECT_EQ(groups[1].members, (std::vector<std::size_t>{4, 5}));
}

TEST(Grouping, PacksBits) {
  std::vector<std::uint8_t> bytes(70);
  bytes[0] = bytes[63] = bytes[64] = 1;
  EXPECT_EQ(packed_bits(bytes), (std::vector<std::uint64_t>{0x8000000000000001u, 1u}));
}

}  // namespace
}  // namespace kintsugi::training::reduce

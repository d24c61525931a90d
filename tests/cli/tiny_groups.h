// A lot of an 8×8 chip in which some chips have most of their faulty PEs in common, as chips from one place
// of the wafer do, and a campaign that lets such chips share a network.
#pragma once

#include <fmt/format.h>

#include <map>
#include <set>
#include <string>
#include <utility>

#include "common/random.h"

namespace kintsugi::test {

// By chip its faulty PEs, row and column. A1 … A4 have twelve in common, and so have B1 … B3; C1 and C2 have
// none.
inline std::map<std::string, std::set<std::pair<int, int>>> families() {
  common::RandomStream random(5, "families");
  const auto draw = [&](std::set<std::pair<int, int>>& pes, std::size_t count) {
    while (pes.size() < count)
      pes.emplace(static_cast<int>(random.below(8)), static_cast<int>(random.below(8)));
  };
  std::map<std::string, std::set<std::pair<int, int>>> lot;
  for (const auto& [family, chips] : {std::pair{'A', 4}, std::pair{'B', 3}}) {
    std::set<std::pair<int, int>> common;
    draw(common, 12);
    for (int i = 1; i <= chips; ++i) draw(lot[fmt::format("{}{}", family, i)] = common, 14);
  }
  for (const char* const alone : {"C1", "C2"}) draw(lot[alone], 14);
  return lot;
}

// As a tester's CSV. All faults are such as a bypass hides, but one of A4: of the kind that acts in spite of
// it.
inline std::string lot_of_families() {
  std::string text = "chip,row,col,site,bit,stuck_at\n";
  for (const auto& [chip, pes] : families()) {
    bool first = true;
    for (const auto& [row, col] : pes) {
      text += fmt::format("{},{},{},{},5,1\n", chip, row, col,
                          chip == "A4" && first ? "psum_register" : "multiplier");
      first = false;
    }
  }
  return text;
}

inline constexpr const char* kGroupedCampaign = R"(campaign:
  chip: chip.yaml
  network: network.yaml
  dataset: {images: x.npy, labels: y.npy, decision_images: 250}
  pretrain: {epochs: 4, batch: 32}
  retrain: {batch: 32, learning_rate: 0.02}
  constraint: {accuracy_drop: 0.002}
  characterize: {fault_rates: [0.1, 0.3, 0.5], repeats: 2, max_steps: 200, evaluate_every_steps: 40}
  chips: {lot: lot.csv}
  group: {max_chips: 4}
  compare: {policies: [max], fixed_steps: []}
)";

}  // namespace kintsugi::test

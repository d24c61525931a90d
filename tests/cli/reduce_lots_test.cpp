// `kintsugi reduce` from the outside: lots that are sampled or measured, and faults that no bypass hides.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <string>
#include <utility>

#include "common/csv.h"
#include "common/diagnostics.h"
#include "common/files.h"
#include "tests/cli/reduce_campaign.h"

namespace kintsugi {
namespace {

namespace fs = std::filesystem;
using test::Outcome;
using testing::HasSubstr;

using ReduceLots = test::ReduceCampaign;

// A sampled lot is, map by map, what `kintsugi fault-map sample` draws with the same options and seed.
TEST_F(ReduceLots, SamplesTheChipsThatFaultMapSampleDraws) {
  const std::pair<const char*, const char*> kinds[] = {
      {"{count: 3, fault_rate: {uniform: [0.1, 0.4]}, model: clustered, clustering: 0.5, block: 4, sites: "
       "area}",
       "--count 3 --rate-range 0.1,0.4 --rate-distribution uniform --model clustered --clustering 0.5 "
       "--block 4 "
       "--sites area"},
      {"{count: 2, faults: 9, sites: {multiplier: 5, adder: 3}, escapes: 1}",
       "--count 2 --faults 9 --sites multiplier:5,adder:3 --escapes 1"},
      {"{count: 2, fault_rate: 0.2, model: columns}", "--count 2 --rate 0.2 --model columns"},
      {"{count: 4, fault_rate: {log_uniform: [0.01, 0.3]}, model: radial, edge_factor: 9, die_size: 0.3}",
       "--count 4 --rate-range 0.01,0.3 --model radial --edge-factor 9 --die-size 0.3"}};
  int kind = 0;
  for (const auto& [campaign, options] : kinds) {
    SCOPED_TRACE(options);
    const std::string number = std::to_string(++kind), out = "lot_" + number, maps = "maps_" + number;
    const std::string how =
        "--seed 5 --quiet --workers 1 --threads 1 --set campaign.pretrain.epochs=0 --set "
        "campaign.characterize.fault_rates=[0.5] --set campaign.characterize.repeats=1 "
        "--set campaign.characterize.max_steps=10 --set 'campaign.chips={sample: " +
        std::string(campaign) + "}'";
    ASSERT_EQ(reduce("characterize", out, how).status, 0);
    const Outcome plan = reduce("plan", out, how);
    ASSERT_EQ(plan.status, 0) << plan.text;
    const Outcome sample = run("fault-map sample --chip chip.yaml --seed 5 --out " + maps + " " + options);
    ASSERT_EQ(sample.status, 0) << sample.text;
    int chips = 0;
    for (const auto& entry : fs::directory_iterator(folder_ / out / "chips")) {
      EXPECT_EQ(common::read_file(entry.path() / "fault_map.yaml"),
                text(maps + "/" + entry.path().filename().string() + ".yaml"));
      ++chips;
    }
    EXPECT_EQ(chips, kind == 1 ? 3 : kind == 4 ? 4 : 2);
  }
}

// Maps like the lot's: another curve than from i.i.d. maps of the same rates, and the same one again.
TEST_F(ReduceLots, CharacterizesOnMapsLikeTheLots) {
  const std::string how =
      "--quiet --workers 2 --threads 1 --set 'campaign.chips={sample: {count: 1, fault_rate: 0.2, model: "
      "columns, sites: area}}' ";
  ASSERT_EQ(reduce("characterize", "a", how).status, 0);
  const std::string like = how + "--set campaign.characterize.maps=like_chips";
  ASSERT_EQ(reduce("characterize", "b", like).status, 0);
  ASSERT_EQ(reduce("characterize", "c", like).status, 0);
  EXPECT_NE(text("a/characterization.csv"), text("b/characterization.csv"));
  expect_same("b", "c");
  EXPECT_THAT(reduce("characterize", "a", like).text, HasSubstr("characterize.maps"));
}

// Faults in psum and activation registers: what keeps away from them is delivered, computes on its own chip
// what a fault-free chip computes, at every fidelity, and says what was dropped.
TEST_F(ReduceLots, KeepsAwayFromWhatNoBypassHides) {
  common::write_file_atomic(folder_ / "campaign.yaml",
                            std::string(test::kReduceCampaign) +
                                "  repair: {mapping: {}, compensation: {images: 300}, drop_unbypassable: "
                                "{max_cycle_factor: 1.35}}\n");
  const std::string less =
      "--quiet --set campaign.characterize.fault_rates=[0.1,0.4] --set campaign.characterize.maps=like_chips "
      "--set 'campaign.chips={sample: {count: 8, fault_rate: {uniform: [0.03, 0.4]}, sites: {multiplier: 1, "
      "psum_register: 1, activation_register: 1}}}' ";
  const Outcome one = reduce("all", "a", less + "--workers 1 --threads 1");
  ASSERT_EQ(one.status, 0) << one.text;
  ASSERT_EQ(reduce("all", "b", less + "--workers 2 --threads 2").status, 0);
  expect_same("a", "b");
  EXPECT_GE(repaired_chips_that_run("a"), 3);
  const std::string plan = text("a/plan.yaml"), summary = text("a/summary.yaml");
  EXPECT_THAT(plan, HasSubstr("dropped: {columns: "));
  EXPECT_THAT(plan, HasSubstr("of 3 outputs find a column without faults"));
  EXPECT_THAT(plan, HasSubstr("plan: reject"));
  EXPECT_THAT(summary, HasSubstr("  dropped: {chips: 8, impossible: "));
  common::Diagnostics diagnostics;
  const auto rows = common::parse_csv(text("a/results.csv"), "results.csv", diagnostics);
  std::map<std::string, std::size_t> column;
  for (std::size_t i = 0; i < rows[0].cells.size(); ++i) column[rows[0].cells[i].text] = i;
  int kept = 0, slower = 0;
  for (std::size_t r = 1; r < rows.size(); ++r) {
    const auto cell = [&](const char* name) { return rows[r].cells[column.at(name)].text; };
    if (cell("plan") == "reject" || cell("plan") == "ship") continue;
    SCOPED_TRACE(cell("chip"));
    EXPECT_EQ(cell("test_accuracy"), cell("test_accuracy_fault_free"));
    ++kept;
    slower += cell("cycle_factor") != "1";
    expect_same_outputs("a", cell("chip"), {"functional", "cycle", "pe"}, true);
  }
  EXPECT_GE(kept, 2);
  EXPECT_GE(slower, 1);
}

TEST_F(ReduceLots, TakesALotAndSaysWhatABypassCannotHide) {
  common::write_file_atomic(folder_ / "lot.csv",
                            "chip,row,col,site,bit,stuck_at,wafer\n"
                            "A1,0,0,,,,W3\nA1,3,4,multiplier,3,1,W3\n"
                            "A2,2,1,psum_register,20,1,W3\n"
                            "A3,,,,,,W3\n");
  const Outcome outcome = reduce("all", "a", "--workers 2 --threads 1 --set 'campaign.chips={lot: lot.csv}'");
  ASSERT_EQ(outcome.status, 0) << outcome.text;
  const std::string plan = text("a/plan.yaml");
  EXPECT_THAT(plan, HasSubstr("1 faulty PE acts in spite of the bypass"));
  EXPECT_THAT(outcome.text, HasSubstr("Assumed maskable: 1 of 3 faults"));
  EXPECT_THAT(outcome.text, HasSubstr("Live in spite of the bypass: 1 faulty PE of 1 chip;"));
  common::Diagnostics diagnostics;
  const auto rows = common::parse_csv(text("a/results.csv"), "results.csv", diagnostics);
  ASSERT_EQ(rows.size(), 4u);
  EXPECT_EQ(rows[3].cells[0].text, "A3");
  EXPECT_EQ(rows[3].cells[3].text, "ship");  // no fault at all
  EXPECT_THAT(text("a/chips/A2/fault_map.yaml"), HasSubstr("wafer: W3"));
  // All are of one wafer, so none would be left to check a guarantee on.
  const Outcome calibrating =
      reduce("characterize", "b",
             "--set 'campaign.chips={lot: lot.csv}' --set 'campaign.calibrate={chips: 1}' --set "
             "'campaign.policy={name: quantile, coverage: 0.5, confidence: 0.5}'");
  EXPECT_EQ(calibrating.status, 2);
  EXPECT_THAT(calibrating.text, HasSubstr("the lot has 3 chips, of which whole wafers calibrate"));
  // On a chip whose psums are wrong, int8 on the chip and int8 on the fault-free chip part.
  EXPECT_NE(rows[2].cells[10].text, rows[2].cells[11].text);
  EXPECT_EQ(rows[1].cells[10].text, rows[1].cells[11].text);
}

}  // namespace
}  // namespace kintsugi

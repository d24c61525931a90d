// What follows from a layer's cycles and bytes, with figures worked by hand.
#include "workloads/layer_report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <sstream>

namespace kintsugi::workloads {
namespace {

using ::testing::HasSubstr;

// 4×2 PEs at 100 MHz: 1.6 GOPS at most.
configs::ChipConfig chip_with(double bandwidth_gb_s) {
  configs::ChipConfig chip;
  chip.array.rows = 4;
  chip.array.cols = 2;
  chip.clock_mhz = 100;
  chip.memory.emplace().dram.bandwidth_gb_s = bandwidth_gb_s;
  chip.energy = configs::EnergyConfig{0.5, 0.25, 2, 3, 10};
  return chip;
}

array::LaunchReport launch_report() {
  array::LaunchReport cost;
  cost.cycles = 40;
  cost.breakdown.active = 16;
  cost.breakdown.weight_shift = 4;
  cost.breakdown.pipeline = 6;
  cost.breakdown.stall_weights = 8;
  cost.breakdown.stall_activations = 3;
  cost.breakdown.stall_accumulators = 1;
  cost.breakdown.stall_output = 2;
  cost.traffic.dram_weight_bytes = 20;
  cost.traffic.dram_activation_bytes = 30;
  cost.traffic.dram_output_bytes = 10;
  cost.traffic.dram_bus_bytes = 192;
  cost.traffic.buffer_bytes = 100;
  cost.traffic.fifo_bytes = 40;
  cost.traffic.accumulator_bytes = 200;
  cost.traffic.register_bytes = 300;
  return cost;
}

// 8×6 times 6×2: two tiles of 4 and 2 rows, 96 MACs in 16 positions fed.
LayerReport layer_report(const configs::ChipConfig& chip) {
  LayerReport report;
  report.layer = "a,b";
  report.m = 8;
  report.k = 6;
  report.n = 2;
  array::LayerLaunch launch;
  launch.shape = array::gemm_shape(8, 6, 2);
  launch.weights = 64;
  launch.output = 128;
  add_launch(report, launch, launch_report(), chip);
  return report;
}

TEST(LayerReport, SumsLaunches) {
  const configs::ChipConfig chip = chip_with(0.375);
  LayerReport report = layer_report(chip);
  EXPECT_EQ(report.tiles, 2);
  EXPECT_EQ(report.cycles, 40);
  EXPECT_EQ(report.stall_cycles, 14);
  EXPECT_EQ(report.macs, 96);
  EXPECT_DOUBLE_EQ(report.utilization, 96.0 / (40 * 8));
  EXPECT_DOUBLE_EQ(figures_of(report, chip).mapped_pes, 0.75);
  add_launch(report, launch_report(), chip);  // a pass without the array
  EXPECT_DOUBLE_EQ(figures_of(report, chip).mapped_pes, 0.75);
  EXPECT_EQ(report.tiles, 2);
  EXPECT_EQ(report.cycles, 80);
  EXPECT_EQ(report.stall_cycles, 28);
  EXPECT_EQ(report.macs, 96);
  EXPECT_DOUBLE_EQ(report.utilization, 96.0 / (80 * 8));
  EXPECT_EQ(report.breakdown.stall_weights, 16);
  EXPECT_EQ(report.traffic.register_bytes, 600);
}

TEST(LayerReport, FiguresFollowFromCyclesAndBytes) {
  const configs::ChipConfig chip = chip_with(0.375);
  const LayerFigures figures = figures_of(layer_report(chip), chip);
  // 4·2 and 2·2 of 8 PEs hold a weight, for 8 cycles each.
  EXPECT_DOUBLE_EQ(figures.mapped_pes, 0.75);
  EXPECT_DOUBLE_EQ(figures.active_share, 0.4);
  // 192 operations in 400 ns.
  EXPECT_DOUBLE_EQ(figures.tops, 0.48e-3);
  // 192 operations on 60 bytes; times 0.375 GB/s is 1.2 GOPS, below the peak.
  EXPECT_DOUBLE_EQ(figures.intensity_ops_per_byte.value(), 3.2);
  EXPECT_DOUBLE_EQ(figures.roofline_tops.value(), 1.2e-3);
  EXPECT_DOUBLE_EQ(figures_of(layer_report(chip), chip_with(0.8)).roofline_tops.value(), 1.6e-3);

  LayerReport resident = layer_report(chip);
  resident.traffic.dram_weight_bytes = resident.traffic.dram_activation_bytes = 0;
  resident.traffic.dram_output_bytes = 0;
  EXPECT_FALSE(figures_of(resident, chip).intensity_ops_per_byte);
  EXPECT_DOUBLE_EQ(figures_of(resident, chip).roofline_tops.value(), 1.6e-3);
}

TEST(LayerReport, EnergyIsActionsTimesTheTable) {
  const configs::ChipConfig chip = chip_with(0.375);
  const Energy energy = *figures_of(layer_report(chip), chip).energy;
  EXPECT_DOUBLE_EQ(energy.mac, 48e-6);            // 96 · 0.5 pJ
  EXPECT_DOUBLE_EQ(energy.registers, 75e-6);      // 300 · 0.25
  EXPECT_DOUBLE_EQ(energy.accumulators, 400e-6);  // 200 · 2
  EXPECT_DOUBLE_EQ(energy.buffer, 420e-6);        // (100 + 40) · 3
  EXPECT_DOUBLE_EQ(energy.dram, 1920e-6);         // 192 · 10, whole bursts
  EXPECT_DOUBLE_EQ(energy.total(), 2863e-6);
}

TEST(LayerReport, TotalsAreSums) {
  const configs::ChipConfig chip = chip_with(0.375);
  LayerReport first = layer_report(chip), second = first;
  first.mapped_fault_rate = 0.5;
  second.macs *= 3;
  const LayerReport total = total_of({first, second, LayerReport{}}, chip);
  EXPECT_EQ(total.layer, "total");
  EXPECT_EQ(total.tiles, 4);
  EXPECT_EQ(total.cycles, 80);
  EXPECT_EQ(total.stall_cycles, 28);
  EXPECT_EQ(total.macs, 384);
  EXPECT_DOUBLE_EQ(total.utilization, 384.0 / (80 * 8));
  EXPECT_DOUBLE_EQ(total.mapped_fault_rate, 0.125);  // half of a quarter of the MACs
  EXPECT_EQ(total.breakdown.total(), 80);
  EXPECT_DOUBLE_EQ(figures_of(total, chip).mapped_pes, 384.0 / (32 * 8));
  EXPECT_EQ(total.traffic.dram_bytes(), 120);
  // Nothing on the chip: no division by zero.
  const LayerFigures none = figures_of(total_of({}, chip), chip);
  EXPECT_EQ(none.tops, 0);
  EXPECT_EQ(none.mapped_pes, 0);
  EXPECT_EQ(none.active_share, 0);
}

const char* const kHeader =
    "layer,m,k,n,tiles,cycles,stall_cycles,macs,utilization,mapped_fault_rate,active_cycles,"
    "weight_shift_cycles,pipeline_cycles,stall_weights_cycles,stall_activations_cycles,"
    "stall_accumulators_cycles,stall_output_cycles,mapped_pes,active_share,dram_read_bytes,dram_write_bytes,"
    "dram_bus_bytes,buffer_bytes,fifo_bytes,accumulator_bytes,register_bytes,tops,intensity_ops_per_byte,"
    "roofline_tops,energy_uj,energy_mac_uj,energy_register_uj,energy_accumulator_uj,energy_buffer_uj,"
    "energy_dram_uj,dram_row_hits,dram_row_misses\n";

TEST(LayerReport, CsvHasItsColumns) {
  configs::ChipConfig chip = chip_with(0.375);
  const LayerReport report = layer_report(chip);
  const std::string start = kHeader + std::string("\"a,b\",8,6,2,2,40,14,96,0.3,0,16,4,6,8,3,1,2,0.75,0.4,");
  EXPECT_THAT(layers_csv({report}, chip),
              HasSubstr(start + "50,10,192,100,40,200,300,0.00048,3.2,0.0012,0.002863,4.8e-05,7.5e-05,"
                                "4e-04,0.00042,0.00192,,\n"));
  // Ideal memory, no table.
  chip.memory.reset();
  chip.energy.reset();
  EXPECT_EQ(layers_csv({report}, chip), start + ",,,100,40,200,300,0.00048,,,,,,,,,,\n");
  chip = chip_with(0.375);
  chip.memory->dram.row_buffer.emplace();
  LayerReport rows = report;
  rows.traffic.row_hits = 5;
  rows.traffic.row_misses = 7;
  EXPECT_THAT(layers_csv({rows}, chip), testing::EndsWith(",5,7\n"));
}

TEST(LayerReport, JsonSaysTheSameAsTheCsv) {
  configs::ChipConfig chip = chip_with(0.375);
  for (int ideal = 0; ideal < 2; ++ideal) {
    LayerReport report = layer_report(chip);
    report.layer = "a";
    const auto json = nlohmann::json::parse(layers_json({report, report}, chip));
    EXPECT_EQ(json.at("version"), 1);
    ASSERT_EQ(json.at("layers").size(), 2u);
    std::istringstream csv(layers_csv({report}, chip));
    std::string names, values;
    std::getline(csv, names);
    std::getline(csv, values);
    std::istringstream name_list(names), value_list(values + ",");
    std::size_t columns = 0;
    for (std::string name, value; std::getline(name_list, name, ','); ++columns) {
      std::getline(value_list, value, ',');
      const auto& cell = json.at("layers")[1].at(name);
      if (value.empty())
        EXPECT_TRUE(cell.is_null()) << name;
      else if (cell.is_string())
        EXPECT_EQ(cell, value);
      else
        EXPECT_EQ(cell.get<double>(), std::stod(value)) << name;
    }
    EXPECT_EQ(json.at("layers")[0].size(), columns);
    EXPECT_EQ(json.at("total").at("layer"), "total");
    EXPECT_EQ(json.at("total").at("cycles"), 80);
    EXPECT_EQ(json.at("total").at("dram_read_bytes").is_null(), ideal == 1);
    chip.memory.reset();
  }
}

}  // namespace
}  // namespace kintsugi::workloads

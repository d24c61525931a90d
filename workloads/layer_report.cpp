#include "workloads/layer_report.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "array/layer_plan.h"
#include "common/csv.h"
#include "common/text.h"

namespace kintsugi::workloads {
namespace {

double per(double what, double of) {
  return of > 0 ? what / of : 0;
}

double pes(const configs::ChipConfig& chip) {
  return static_cast<double>(chip.array.rows) * chip.array.cols;
}

void add_cost(LayerReport& report, const array::LaunchReport& cost, const configs::ChipConfig& chip) {
  report.cycles += cost.cycles;
  report.stall_cycles += cost.breakdown.stalls();
  report.breakdown += cost.breakdown;
  report.traffic += cost.traffic;
  report.timing += cost.timing;
  report.utilization = per(static_cast<double>(report.macs), static_cast<double>(report.cycles) * pes(chip));
}

std::string csv_text(const ReportValue& value) {
  if (const auto* whole = std::get_if<std::int64_t>(&value)) return std::to_string(*whole);
  if (const auto* number = std::get_if<double>(&value)) return common::format_number(*number);
  if (const auto* text = std::get_if<std::string>(&value)) return common::csv_cell(*text);
  return "";
}

std::vector<ReportCell> timing_cells(const LayerReport& report) {
  std::vector<ReportCell> cells = {{"late_words", report.timing.late_words},
                                   {"dropped_products", report.timing.dropped_products},
                                   {"flipped_bits", report.timing.flipped_bits},
                                   {"outputs", report.outputs},
                                   {"outputs_off_by_1_to_5", {}},
                                   {"outputs_off_by_more", {}},
                                   {"word_error_rate", {}}};
  if (const auto& errors = report.output_errors) {
    cells[4].value = errors->small;
    cells[5].value = errors->large;
    cells[6].value =
        per(static_cast<double>(errors->small + errors->large), static_cast<double>(report.outputs));
  }
  return cells;
}

nlohmann::ordered_json to_json(const std::vector<ReportCell>& cells) {
  nlohmann::ordered_json json;
  for (const ReportCell& cell : cells)
    std::visit(
        [&](const auto& value) {
          if constexpr (std::is_same_v<std::decay_t<decltype(value)>, std::monostate>)
            json[cell.name] = nullptr;
          else
            json[cell.name] = value;
        },
        cell.value);
  return json;
}

}  // namespace

void add_launch(LayerReport& report, const array::LayerLaunch& launch, const array::LaunchReport& cost,
                const configs::ChipConfig& chip) {
  report.tiles += array::LayerPlan(launch, chip).tiles();
  report.fed_positions += cost.breakdown.active;
  report.macs += launch.shape.macs();
  report.outputs += launch.shape.outputs();
  add_cost(report, cost, chip);
}

void add_launch(LayerReport& report, const array::LaunchReport& cost, const configs::ChipConfig& chip) {
  add_cost(report, cost, chip);
}

Energy energy_of(std::int64_t macs, const array::Traffic& traffic, const configs::EnergyConfig& table) {
  const auto microjoules = [](std::int64_t actions, double picojoules) {
    return static_cast<double>(actions) * picojoules / 1e6;
  };
  Energy energy;
  energy.mac = microjoules(macs, table.mac);
  energy.registers = microjoules(traffic.register_bytes, table.register_byte);
  energy.accumulators = microjoules(traffic.accumulator_bytes, table.accumulator_byte);
  energy.buffer = microjoules(traffic.buffer_bytes + traffic.fifo_bytes, table.buffer_byte);
  energy.dram = microjoules(traffic.dram_bus_bytes, table.dram_byte);
  return energy;
}

LayerFigures figures_of(const LayerReport& report, const configs::ChipConfig& chip) {
  const auto macs = static_cast<double>(report.macs), cycles = static_cast<double>(report.cycles);
  const auto active = static_cast<double>(report.breakdown.active);
  LayerFigures figures;
  figures.mapped_pes = per(macs, static_cast<double>(report.fed_positions) * pes(chip));
  figures.active_share = per(active, cycles);
  figures.tops = per(2 * macs * chip.clock_mhz, cycles) / 1e6;
  if (chip.memory) {
    const double peak = 2 * pes(chip) * chip.clock_mhz / 1e6;
    const auto bytes = static_cast<double>(report.traffic.dram_bytes());
    figures.roofline_tops = peak;
    if (bytes > 0) {
      figures.intensity_ops_per_byte = 2 * macs / bytes;
      const double bound = 2 * macs * chip.memory->dram.bandwidth_gb_s / bytes / 1e3;
      figures.roofline_tops = std::min(peak, bound);
    }
  }
  if (chip.energy) figures.energy = energy_of(report.macs, report.traffic, *chip.energy);
  return figures;
}

LayerReport total_of(const std::vector<LayerReport>& layers, const configs::ChipConfig& chip) {
  LayerReport total;
  total.layer = "total";
  double mapped = 0;
  for (const LayerReport& layer : layers) {
    total.tiles += layer.tiles;
    total.cycles += layer.cycles;
    total.stall_cycles += layer.stall_cycles;
    total.macs += layer.macs;
    total.breakdown += layer.breakdown;
    total.traffic += layer.traffic;
    total.fed_positions += layer.fed_positions;
    total.outputs += layer.outputs;
    total.timing += layer.timing;
    if (layer.output_errors) {
      if (!total.output_errors) total.output_errors.emplace();
      total.output_errors->small += layer.output_errors->small;
      total.output_errors->large += layer.output_errors->large;
    }
    mapped += layer.mapped_fault_rate * static_cast<double>(layer.macs);
  }
  const auto macs = static_cast<double>(total.macs);
  total.utilization = per(macs, static_cast<double>(total.cycles) * pes(chip));
  total.mapped_fault_rate = per(mapped, macs);
  return total;
}

std::vector<ReportCell> report_cells(const LayerReport& report, const configs::ChipConfig& chip) {
  const LayerFigures figures = figures_of(report, chip);
  const array::CycleBreakdown& in = report.breakdown;
  const array::Traffic& traffic = report.traffic;
  const auto if_memory = [&](std::int64_t value) { return chip.memory ? ReportValue(value) : ReportValue(); };
  const auto if_any = [](const std::optional<double>& value) {
    return value ? ReportValue(*value) : ReportValue();
  };
  const auto if_energy = [&](double Energy::*part) {
    return figures.energy ? ReportValue(*figures.energy.*part) : ReportValue();
  };
  const auto if_rows = [&](std::int64_t value) {
    return chip.memory && chip.memory->dram.row_buffer ? ReportValue(value) : ReportValue();
  };
  std::vector<ReportCell> cells{
      {"layer", report.layer},
      {"m", report.m},
      {"k", report.k},
      {"n", report.n},
      {"tiles", report.tiles},
      {"cycles", report.cycles},
      {"stall_cycles", report.stall_cycles},
      {"macs", report.macs},
      {"utilization", report.utilization},
      {"mapped_fault_rate", report.mapped_fault_rate},
      {"active_cycles", in.active},
      {"weight_shift_cycles", in.weight_shift},
      {"pipeline_cycles", in.pipeline},
      {"stall_weights_cycles", in.stall_weights},
      {"stall_activations_cycles", in.stall_activations},
      {"stall_accumulators_cycles", in.stall_accumulators},
      {"stall_output_cycles", in.stall_output},
      {"mapped_pes", figures.mapped_pes},
      {"active_share", figures.active_share},
      {"dram_read_bytes", if_memory(traffic.dram_weight_bytes + traffic.dram_activation_bytes)},
      {"dram_write_bytes", if_memory(traffic.dram_output_bytes)},
      {"dram_bus_bytes", if_memory(traffic.dram_bus_bytes)},
      {"buffer_bytes", traffic.buffer_bytes},
      {"fifo_bytes", traffic.fifo_bytes},
      {"accumulator_bytes", traffic.accumulator_bytes},
      {"register_bytes", traffic.register_bytes},
      {"tops", figures.tops},
      {"intensity_ops_per_byte", if_any(figures.intensity_ops_per_byte)},
      {"roofline_tops", if_any(figures.roofline_tops)},
      {"energy_uj", figures.energy ? ReportValue(figures.energy->total()) : ReportValue()},
      {"energy_mac_uj", if_energy(&Energy::mac)},
      {"energy_register_uj", if_energy(&Energy::registers)},
      {"energy_accumulator_uj", if_energy(&Energy::accumulators)},
      {"energy_buffer_uj", if_energy(&Energy::buffer)},
      {"energy_dram_uj", if_energy(&Energy::dram)},
      {"dram_row_hits", if_rows(traffic.row_hits)},
      {"dram_row_misses", if_rows(traffic.row_misses)}};
  if (chip.timing) {
    const auto more = timing_cells(report);
    cells.insert(cells.end(), more.begin(), more.end());
  }
  return cells;
}

std::string layers_csv(const std::vector<LayerReport>& layers, const configs::ChipConfig& chip) {
  std::vector<std::string> cells;
  for (const ReportCell& cell : report_cells({}, chip)) cells.emplace_back(cell.name);
  std::string text = common::join(cells, ",") + "\n";
  for (const LayerReport& layer : layers) {
    cells.clear();
    for (const ReportCell& cell : report_cells(layer, chip)) cells.push_back(csv_text(cell.value));
    text += common::join(cells, ",") + "\n";
  }
  return text;
}

std::string layers_json(const std::vector<LayerReport>& layers, const configs::ChipConfig& chip) {
  nlohmann::ordered_json json;
  json["version"] = 1;
  json["layers"] = nlohmann::ordered_json::array();
  for (const LayerReport& layer : layers) json["layers"].push_back(to_json(report_cells(layer, chip)));
  json["total"] = to_json(report_cells(total_of(layers, chip), chip));
  return json.dump(1) + "\n";
}

}  // namespace kintsugi::workloads

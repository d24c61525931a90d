#include "sim/run_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <string_view>
#include <utility>
#include <vector>

#include "common/text.h"
#include "sim/text_table.h"
#include "sim/timing_report.h"
#include "workloads/layer_report.h"

namespace kintsugi::sim {
namespace {

using common::format_number;
using common::format_percent;
using common::yaml_scalar;

double microseconds(const ExecutionRequest& request, const ExecutionResult& result) {
  return static_cast<double>(result.cycles) / request.chip.clock_mhz;
}

double throughput(const ExecutionRequest& request, const ExecutionResult& result) {
  const double us = microseconds(request, result);
  return us > 0 ? 1e6 * static_cast<double>(result.predicted.size()) / us : 0;
}

std::string duration(double us) {
  if (us < 1e3) return fmt::format("{:.3f} us", us);
  if (us < 1e6) return fmt::format("{:.3f} ms", us / 1e3);
  return fmt::format("{:.3f} s", us / 1e6);
}

std::string energy_text(double uj) {
  if (uj < 1e3) return fmt::format("{:.4g} uJ", uj);
  if (uj < 1e6) return fmt::format("{:.4g} mJ", uj / 1e3);
  return fmt::format("{:.4g} J", uj / 1e6);
}

// Four digits that say something, and no exponent for what a table usually holds.
std::string significant(double value) {
  return std::abs(value) >= 1000 ? fmt::format("{:.0f}", value) : fmt::format("{:.4g}", value);
}

// Long names keep their end, which tells layers apart.
std::string layer_name(const std::string& name) {
  constexpr std::size_t kLongest = 20;
  return name.size() <= kLongest ? name : fmt::format("...{}", name.substr(name.size() - (kLongest - 3)));
}

// What the totals add to the summary: all columns of layers.csv behind those that have a line of their own.
std::string total_lines(const workloads::LayerReport& total, const configs::ChipConfig& chip) {
  std::string text;
  bool begun = false;
  for (const workloads::ReportCell& cell : workloads::report_cells(total, chip)) {
    begun |= std::string_view(cell.name) == "mapped_fault_rate";
    if (!begun) continue;
    if (const auto* whole = std::get_if<std::int64_t>(&cell.value))
      text += fmt::format("  {}: {}\n", cell.name, *whole);
    else if (const auto* number = std::get_if<double>(&cell.value))
      text += fmt::format("  {}: {}\n", cell.name, format_number(*number));
  }
  return text;
}

std::string layer_table(const std::vector<workloads::LayerReport>& lines, const configs::ChipConfig& chip,
                        bool colours) {
  TextTable table;
  table.column("layer", Align::left);
  for (const char* header : {"M", "K", "N", "tiles", "cycles", "stalls", "utilisation", "mapped\nPEs",
                             "active\ncycles", "mapped\nfaults"}) {
    table.column(header);
  }
  for (const workloads::LayerReport& layer : lines) {
    const auto size = [](std::int64_t value) { return value > 0 ? fmt::format("{}", value) : ""; };
    const workloads::LayerFigures figures = workloads::figures_of(layer, chip);
    table.row({{layer_name(layer.layer)},
               {size(layer.m)},
               {size(layer.k)},
               {size(layer.n)},
               {fmt::format("{}", layer.tiles)},
               {fmt::format("{}", layer.cycles)},
               {fmt::format("{}", layer.stall_cycles)},
               {format_percent(layer.utilization)},
               {format_percent(figures.mapped_pes)},
               {format_percent(figures.active_share)},
               {format_percent(layer.mapped_fault_rate)}});
  }
  return table.render(colours);
}

// Where the cycles went that were not active, in percent of the layer's, and what crossed to and from the
// DRAM.
std::string memory_table(const std::vector<workloads::LayerReport>& lines, const configs::ChipConfig& chip,
                         bool colours) {
  TextTable table;
  table.column("layer", Align::left);
  for (const char* header : {"shift\n%", "pipe\n%", "stall %\nweights", "stall %\nactiv.", "stall %\naccum.",
                             "stall %\noutput", "DRAM\nMB", "TOPS", "ops per\nbyte", "roofline\nTOPS"}) {
    table.column(header);
  }
  if (chip.energy) table.column("energy\nuJ");
  for (const workloads::LayerReport& layer : lines) {
    const workloads::LayerFigures figures = workloads::figures_of(layer, chip);
    const auto share = [&](std::int64_t cycles) {
      return layer.cycles > 0 ? fmt::format("{:.1f}", 100.0 * static_cast<double>(cycles) /
                                                          static_cast<double>(layer.cycles))
                              : "";
    };
    const auto figure = [](const std::optional<double>& value) { return value ? significant(*value) : ""; };
    const array::CycleBreakdown& in = layer.breakdown;
    std::vector<TableCell> cells{
        {layer_name(layer.layer)},      {share(in.weight_shift)},
        {share(in.pipeline)},           {share(in.stall_weights)},
        {share(in.stall_activations)},  {share(in.stall_accumulators)},
        {share(in.stall_output)},       {significant(static_cast<double>(layer.traffic.dram_bytes()) / 1e6)},
        {significant(figures.tops)},    {figure(figures.intensity_ops_per_byte)},
        {figure(figures.roofline_tops)}};
    if (figures.energy) cells.push_back({significant(figures.energy->total())});
    table.row(std::move(cells));
  }
  return table.render(colours);
}

std::string energy_line(const workloads::Energy& energy) {
  std::string parts;
  const auto part = [&](const char* name, double value) {
    if (value > 0)
      parts +=
          fmt::format("{}{} {}", parts.empty() ? "" : ", ", name, format_percent(value / energy.total()));
  };
  part("MACs", energy.mac);
  part("registers", energy.registers);
  part("accumulators", energy.accumulators);
  part("buffer", energy.buffer);
  part("DRAM", energy.dram);
  return fmt::format("energy: {}{}{}\n", energy_text(energy.total()), parts.empty() ? "" : ": ", parts);
}

// What timing errors did to each layer.
std::string error_table(const std::vector<workloads::LayerReport>& lines, bool colours) {
  TextTable table;
  table.column("layer", Align::left);
  for (const char* header : {"late\nwords", "dropped\nproducts", "flipped\nbits", "outputs", "wrong",
                             "off by\n1 to 5", "off by\nmore"})
    table.column(header);
  for (const workloads::LayerReport& layer : lines) {
    const auto share = [&](std::int64_t count) {
      return layer.outputs > 0
                 ? format_percent(static_cast<double>(count) / static_cast<double>(layer.outputs))
                 : "";
    };
    const auto errors = layer.output_errors.value_or(workloads::OutputErrors());
    table.row({{layer_name(layer.layer)},
               {fmt::format("{}", layer.timing.late_words)},
               {fmt::format("{}", layer.timing.dropped_products)},
               {fmt::format("{}", layer.timing.flipped_bits)},
               {fmt::format("{}", layer.outputs)},
               {share(errors.small + errors.large)},
               {share(errors.small)},
               {share(errors.large)}});
  }
  return table.render(colours);
}

std::string late_pes_text(const ExecutionResult& result) {
  const faults::ChipSpeed& speed = *result.speed;
  if (!speed.has_delays()) return "";
  if (result.late_pes.empty()) return "no PE was late\n";
  const faults::OperatingPoint& point = speed.configured();
  // Of a PE with factor 1.
  const double period = 1e6 / point.frequency_mhz / speed.tmin_ps();
  std::string text = fmt::format("PEs that were late: {}; the most often:\n", result.late_pe_count);
  for (const LatePe& pe : result.late_pes)
    text += fmt::format("  ({}, {}): {} words, T/Tmin {:.3f}\n", pe.row, pe.col, pe.words,
                        period / speed.delay_factor(pe.row, pe.col, point.voltage_v, point.temperature_c));
  return text;
}

// Everything that `run` says about timing, for people.
std::string timing_part(const ExecutionRequest& request, const ExecutionResult& result,
                        const std::vector<workloads::LayerReport>& lines, bool colours) {
  const faults::ChipSpeed& speed = *result.speed;
  std::string text = fmt::format("\n{}", timing_text(request.chip, speed, speed.configured()));
  text += fmt::format("\n{}{}", error_table(lines, colours), late_pes_text(result));
  if (request.workload.network)
    text += fmt::format("throughput: {} images/s at the chip's clock\n",
                        significant(throughput(request, result)));
  return text;
}

std::string timing_summary(const ExecutionRequest& request, const ExecutionResult& result) {
  const faults::ChipSpeed& speed = *result.speed;
  std::string text =
      fmt::format("  timing:\n{}", timing_yaml(request.chip, speed, speed.configured(), "    "));
  text += fmt::format("    late_pes: {}\n    most_late_pes:{}\n", result.late_pe_count,
                      result.late_pes.empty() ? " []" : "");
  for (const LatePe& pe : result.late_pes)
    text += fmt::format("      - {{row: {}, col: {}, late_words: {}}}\n", pe.row, pe.col, pe.words);
  if (request.workload.network)
    text += fmt::format("  images_per_second: {}\n", format_number(throughput(request, result)));
  return text;
}

}  // namespace

std::string run_summary(const RunFiles& files, const ExecutionRequest& request,
                        const ExecutionResult& result) {
  const configs::ArrayConfig& array = request.chip.array;
  const faults::FaultReport& report = result.fault_report;
  std::string text = "run:\n  version: 1\n";
  text += fmt::format("  chip: {{name: {}, file: {}, rows: {}, cols: {}, clock_mhz: {}}}\n",
                      yaml_scalar(request.chip.name), yaml_scalar(files.chip.string()), array.rows,
                      array.cols, format_number(request.chip.clock_mhz));
  text += fmt::format("  workload: {}\n  fidelity: {}\n", yaml_scalar(files.workload.string()),
                      configs::to_string(request.fidelity));
  if (request.workload.network) {
    const configs::NetworkWorkload& network = *request.workload.network;
    if (network.random_weights)
      text += fmt::format("  weights: 'random({}), not trained: outputs and accuracies mean nothing'\n",
                          *network.random_weights);
    if (network.dataset.random)
      text += fmt::format("  dataset: 'random images, seed {}'\n", network.dataset.random->seed);
  }
  text += "  faults:\n";
  text += fmt::format("    map: {}\n    faults: {}\n    faulty_pes: {}\n    fault_rate: {}\n",
                      yaml_scalar(report.chip), report.faults, report.faulty_pes,
                      format_number(report.fault_rate));
  text += fmt::format(
      "    bypassed_pes: {}\n    assumed_maskable: {}\n    escapes: {}\n    false_alarms: {}\n"
      "    acting_in_spite_of_bypass: {}\n    columns_reached: {}\n",
      report.bypassed_pes, report.assumed_maskable, report.escapes, report.false_alarms, report.live.size(),
      report.columns_reached);
  text += fmt::format("    test_coverage_assumed: {}\n", report.escapes == 0 ? "1" : "null");
  const workloads::LayerReport total = workloads::total_of(result.layers, request.chip);
  text += fmt::format("  memory: {}\n", request.chip.memory ? "simulated" : "ideal");
  text += fmt::format("  cycles: {}\n  stall_cycles: {}\n  macs: {}\n  utilization: {}\n  time_us: {}\n",
                      total.cycles, total.stall_cycles, total.macs, format_number(total.utilization),
                      format_number(microseconds(request, result)));
  text += total_lines(total, request.chip);
  if (result.speed) text += timing_summary(request, result);
  if (result.accuracy) {
    text += fmt::format("  images: {}\n  accuracy:\n", result.predicted.size());
    if (result.float_accuracy) text += fmt::format("    float: {}\n", format_number(*result.float_accuracy));
    if (result.fault_free_accuracy) {
      text += fmt::format("    int8_fault_free: {}\n", format_number(*result.fault_free_accuracy));
    }
    text += fmt::format("    int8_this_chip: {}\n", format_number(*result.accuracy));
  }
  if (request.workload.topology) {
    text += fmt::format("  numbers_computed: false\n  operands: {}\n",
                        request.fidelity == configs::Fidelity::functional ? "none" : "random");
    return text;
  }
  text += "  layer_sha256:\n";
  for (std::size_t i = 0; i < result.layers.size(); ++i) {
    text += fmt::format("    {}: {}\n", yaml_scalar(result.layers[i].layer), result.layer_digests[i]);
  }
  return text;
}

std::string run_table(const ExecutionRequest& request, const ExecutionResult& result, bool colours) {
  const configs::ArrayConfig& array = request.chip.array;
  std::string text =
      fmt::format("chip {}, {}x{}, {} MHz, fidelity {}\n\n", request.chip.name, array.rows, array.cols,
                  format_number(request.chip.clock_mhz), configs::to_string(request.fidelity));
  const workloads::LayerReport total = workloads::total_of(result.layers, request.chip);
  std::vector<workloads::LayerReport> lines = result.layers;
  if (lines.size() > 1) lines.push_back(total);
  text += layer_table(lines, request.chip, colours);
  if (request.chip.memory) text += fmt::format("\n{}", memory_table(lines, request.chip, colours));
  text += fmt::format("\ntotal: {} cycles, {} of them stalls, {} at the chip's clock, utilisation {}\n",
                      total.cycles, total.stall_cycles, duration(microseconds(request, result)),
                      format_percent(total.utilization));
  if (request.chip.energy) text += energy_line(*workloads::figures_of(total, request.chip).energy);
  if (request.workload.network && request.workload.network->random_weights) {
    text +=
        fmt::format("\nThe weights are random (seed {}), not trained: outputs and accuracies mean nothing.\n",
                    *request.workload.network->random_weights);
  }
  if (request.workload.topology) {
    text += request.fidelity == configs::Fidelity::functional
                ? "a topology has no data: cycles only, no numbers were computed\n"
                : "a topology has no data: the operands were random, and the numbers were not kept\n";
  }
  if (result.fault_report.faults > 0 || result.fault_report.bypassed_pes > 0) {
    text += fmt::format("\n{}", faults::to_text(result.fault_report));
  }
  if (result.speed) text += timing_part(request, result, lines, colours);
  if (result.accuracy) {
    text += fmt::format("\naccuracy over {} images\n", result.predicted.size());
    const auto line = [&](const char* name, double value) {
      text += fmt::format("  {:<24}{:>9}\n", name, format_percent(value));
    };
    if (result.float_accuracy) line("float", *result.float_accuracy);
    if (result.fault_free_accuracy) line("int8, fault-free chip", *result.fault_free_accuracy);
    line("int8, this chip", *result.accuracy);
  }
  return text;
}

std::string waveform_text(const ExecutionRequest& request, const ExecutionResult& result) {
  const WaveformRequest& waveform = *request.waveform;
  const configs::ArrayConfig& array = request.chip.array;
  std::string text =
      fmt::format("waveform of PEs ({},{}) to ({},{}) in {}\n", waveform.rows.first, waveform.cols.first,
                  waveform.rows.last, waveform.cols.last, waveform.file.string());
  if (waveform.rows.count() < array.rows || waveform.cols.count() < array.cols)
    text += fmt::format("  the array is {0}x{1}; --trace-signals 'row=0-{2} col=0-{3}' shows all of it\n",
                        array.rows, array.cols, array.rows - 1, array.cols - 1);
  if (waveform.cycles.first > result.waveform_cycles)
    text += fmt::format("  it shows nothing: the run has cycles 0 to {}\n", result.waveform_cycles);
  else if (waveform.cycles.first > 0 || waveform.cycles.last < result.waveform_cycles)
    text += fmt::format("  it shows cycles {} to {} of {}; choose others with --trace-signals 'cycle=...'\n",
                        waveform.cycles.first, std::min(waveform.cycles.last, result.waveform_cycles),
                        result.waveform_cycles);
  return text;
}

}  // namespace kintsugi::sim

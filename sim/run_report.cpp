#include "sim/run_report.h"

#include <fmt/format.h>

#include <algorithm>

#include "common/text.h"
#include "sim/text_table.h"

namespace kintsugi::sim {
namespace {

using common::format_number;
using common::format_percent;
using common::yaml_scalar;

std::int64_t macs_of(const ExecutionResult& result) {
  std::int64_t macs = 0;
  for (const auto& layer : result.layers) macs += layer.macs;
  return macs;
}

double utilization_of(const ExecutionRequest& request, const ExecutionResult& result) {
  const configs::ArrayConfig& array = request.chip.array;
  const double slots = static_cast<double>(result.cycles) * array.rows * array.cols;
  return slots > 0 ? static_cast<double>(macs_of(result)) / slots : 0;
}

double microseconds(const ExecutionRequest& request, const ExecutionResult& result) {
  return static_cast<double>(result.cycles) / request.chip.clock_mhz;
}

std::string duration(double us) {
  if (us < 1e3) return fmt::format("{:.3f} us", us);
  if (us < 1e6) return fmt::format("{:.3f} ms", us / 1e3);
  return fmt::format("{:.3f} s", us / 1e6);
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
  text += fmt::format("  cycles: {}\n  stall_cycles: {}\n  macs: {}\n  utilization: {}\n  time_us: {}\n",
                      result.cycles, result.stall_cycles, macs_of(result),
                      format_number(utilization_of(request, result)),
                      format_number(microseconds(request, result)));
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
  TextTable table;
  table.column("layer", Align::left);
  for (const char* header : {"M", "K", "N", "tiles", "cycles", "stalls", "utilisation", "mapped faults"}) {
    table.column(header);
  }
  for (const auto& layer : result.layers) {
    table.row({{layer.layer},
               {fmt::format("{}", layer.m)},
               {fmt::format("{}", layer.k)},
               {fmt::format("{}", layer.n)},
               {fmt::format("{}", layer.tiles)},
               {fmt::format("{}", layer.cycles)},
               {fmt::format("{}", layer.stall_cycles)},
               {format_percent(layer.utilization)},
               {format_percent(layer.mapped_fault_rate)}});
  }
  text += table.render(colours);
  text += fmt::format("\ntotal: {} cycles, {} of them stalls, {} at the chip's clock, utilisation {}\n",
                      result.cycles, result.stall_cycles, duration(microseconds(request, result)),
                      format_percent(utilization_of(request, result)));
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

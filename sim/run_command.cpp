// `kintsugi run`: one workload on one chip, at any fidelity.
#include <fmt/format.h>
#include <unistd.h>

#include <filesystem>
#include <iostream>
#include <system_error>

#include "common/diagnostics.h"
#include "common/files.h"
#include "configs/chip.h"
#include "configs/workload.h"
#include "faults/fault_map_io.h"
#include "sim/execution.h"
#include "sim/operating_options.h"
#include "sim/options.h"
#include "sim/run_report.h"
#include "workloads/layer_report.h"
#include "workloads/npy.h"

namespace kintsugi::sim {
namespace {

namespace po = boost::program_options;
using common::InputError;

constexpr const char* kCommand = "kintsugi run";

[[noreturn]] void fail(const std::string& message) {
  throw InputError(fmt::format("kintsugi run: error: {}\n'kintsugi run --help' lists all options", message));
}

configs::Fidelity fidelity_from(const std::string& word) {
  for (const auto fidelity :
       {configs::Fidelity::pe, configs::Fidelity::cycle, configs::Fidelity::functional}) {
    if (word == configs::to_string(fidelity)) return fidelity;
  }
  fail(fmt::format("--fidelity must be pe, cycle or functional, but is '{}'", word));
}

ExecutionRequest read_request(const OptionParser& parser) {
  const CommonOptions& common = parser.common();
  ExecutionRequest request;
  request.chip = at_chosen_point(configs::read_chip(parser.text("chip"), common.set),
                                 chosen_point(parser, kCommand), kCommand);
  request.compare_outputs = true;
  request.workload = configs::read_workload(parser.text("workload"), common.set);
  request.fidelity = fidelity_from(parser.text("fidelity"));
  const configs::ArrayConfig& array = request.chip.array;
  const faults::ArrayGeometry geometry{array.rows, array.cols, array.accumulator_bits};
  if (parser.has("fault-map")) {
    request.fault_map = faults::read_fault_map(parser.text("fault-map"), geometry, common.set);
  }
  if (parser.has("bypass-map")) {
    request.bypass_map = faults::read_fault_map(parser.text("bypass-map"), geometry, common.set);
  }
  request.no_bypass = parser.values()["no-bypass"].as<bool>();
  if (parser.has("trace")) {
    request.waveform = read_waveform_request(parser.text("trace"),
                                             parser.has("trace-signals") ? parser.text("trace-signals") : "",
                                             array.rows, array.cols);
  }
  if (parser.has("timeline")) {
    if (!request.chip.memory)
      fail(
          fmt::format("--timeline: the chip '{}' has ideal memory, so there is nothing to show; give it a "
                      "memory system, like --set 'chip.memory={{dram: {{bandwidth_gb_s: 34}}}}', or use "
                      "--trace for the array's registers",
                      request.chip.name));
    request.timeline = parser.text("timeline");
  }
  request.threads = common.threads;
  request.data_dir = common.data_dir;
  request.overrides = common.set;
  return request;
}

void write_results(const std::filesystem::path& out, const RunFiles& files, const ExecutionRequest& request,
                   const ExecutionResult& result) {
  if (request.workload.gemm) {
    workloads::write_npy(out / "output.npy", result.output);
  } else if (request.workload.network) {
    workloads::write_npy(out / "logits.npy", result.logits);
    const auto images = static_cast<std::int64_t>(result.predicted.size());
    workloads::write_npy(out / "predictions.npy",
                         workloads::Tensor<std::int32_t>({images}, result.predicted));
  }
  common::write_file_atomic(out / "layers.csv", workloads::layers_csv(result.layers, request.chip));
  common::write_file_atomic(out / "layers.json", workloads::layers_json(result.layers, request.chip));
  // Last: where it stands, everything else does.
  common::write_file_atomic(out / "summary.yaml", run_summary(files, request, result));
}

}  // namespace

int run_command(const std::vector<std::string>& arguments) {
  OptionParser parser(
      "kintsugi run --chip FILE --workload FILE --out DIR [options]",
      "Runs a workload, a matrix product or a network over a data set, on one simulated chip, and writes "
      "its\n"
      "outputs, the cycles of every layer and, for a network, accuracies. The three fidelities give the "
      "same\n"
      "outputs and cycles.",
      "kintsugi run --chip configs/chips/tiny8.yaml --workload configs/suites/ragged.yaml --fidelity pe "
      "--out "
      "run");
  const auto text = [](const char* name) { return po::value<std::string>()->value_name(name); };
  parser.own().add_options()                                                                       //
      ("chip", text("FILE")->required(), "chip description (configs/chips/*.yaml)")                //
      ("workload", text("FILE")->required(), "workload description: a GEMM or a network")          //
      ("fault-map", text("FILE"), "what is broken, instead of the map the chip file names")        //
      ("bypass-map", text("FILE"), "bypass the PEs named here instead of those of the fault map")  //
      ("no-bypass", po::bool_switch(), "bypass nothing")                                           //
      ("fidelity", text("WORD")->default_value("functional"), "pe, cycle or functional")           //
      ("trace", text("FILE"), "write a waveform (VCD); with fidelity pe or cycle")                 //
      ("trace-signals", text("WORDS"),
       "what the waveform shows, like 'row=0-3 col=0-3 cycle=0-999 show=valid,psum'")  //
      ("timeline", text("FILE"), "write what the memory system and the array do when, for Perfetto (JSON)");
  add_operating_options(parser);
  parser.without("seed");
  parser.reads({"chip", "workload", "network", "fault_map"});
  if (!parser.parse(arguments)) return kExitDone;
  if (parser.common().out.empty()) fail("the option --out is missing (where results go); add it");
  if (parser.has("bypass-map") && parser.values()["no-bypass"].as<bool>()) {
    fail("--bypass-map and --no-bypass exclude each other; give one of them");
  }

  if (parser.has("trace-signals") && !parser.has("trace")) {
    fail("--trace-signals chooses what a waveform shows, but there is none; add --trace FILE");
  }
  if (parser.has("trace") && fidelity_from(parser.text("fidelity")) == configs::Fidelity::functional) {
    fail(
        "--trace: the functional fidelity has no registers to show; run with --fidelity cycle, or pe for a "
        "small array");
  }

  const RunFiles files{parser.text("chip"), parser.text("workload")};
  const ExecutionRequest request = read_request(parser);
  // A place that cannot be written is said before the work, not after it.
  std::error_code code;
  std::filesystem::create_directories(parser.common().out, code);
  if (code) {
    throw InputError({parser.common().out.string()},
                     fmt::format("cannot create the folder: {}; choose another --out", code.message()));
  }
  if (request.timeline && request.timeline->has_parent_path()) {
    std::filesystem::create_directories(request.timeline->parent_path(), code);
    if (code)
      throw InputError(
          {request.timeline->string()},
          fmt::format("cannot create its folder: {}; choose another --timeline", code.message()));
  }
  const ExecutionResult result = execute(request);
  write_results(parser.common().out, files, request, result);
  if (!parser.common().quiet) {
    if (request.waveform) std::cout << waveform_text(request, result) << "\n";
    if (request.timeline)
      std::cout << fmt::format(
          "timeline of {} events in {}; open it with ui.perfetto.dev or chrome://tracing\n\n",
          result.timeline_events, request.timeline->string());
    std::cout << run_table(request, result, isatty(STDOUT_FILENO) != 0) << "\nresults in "
              << parser.common().out.string() << "\n";
  }
  return kExitDone;
}

}  // namespace kintsugi::sim

// `kintsugi sweep`: one workload on one chip, over a grid of settings.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <iostream>
#include <thread>

#include "common/diagnostics.h"
#include "common/files.h"
#include "common/text.h"
#include "sim/options.h"
#include "sim/sweep.h"

namespace kintsugi::sim {
namespace {

namespace po = boost::program_options;
using common::InputError;

[[noreturn]] void fail(const std::string& message) {
  throw InputError(
      fmt::format("kintsugi sweep: error: {}\n'kintsugi sweep --help' lists all options", message));
}

configs::Fidelity fidelity_from(const std::string& word) {
  for (const auto fidelity : {configs::Fidelity::pe, configs::Fidelity::cycle, configs::Fidelity::functional})
    if (word == configs::to_string(fidelity)) return fidelity;
  fail(fmt::format("--fidelity must be pe, cycle or functional, but is '{}'", word));
}

int read_workers(const OptionParser& parser, int cores) {
  if (!parser.has("workers")) return cores;
  const auto value = common::parse_integer(parser.text("workers"));
  if (!value || *value < 1 || *value > 1024)
    fail(fmt::format("--workers must be an integer from 1 to 1024, but is '{}'", parser.text("workers")));
  return static_cast<int>(*value);
}

// A number goes to `fixed`, a list becomes an axis.
void read_fault_option(const OptionParser& parser, const std::string& option, double high, const char* axis,
                       std::optional<double>& fixed, SweepGrid& grid) {
  if (!parser.has(option)) return;
  bool is_list = false;
  const std::vector<double> values = read_values(option, parser.text(option), 0, high, is_list);
  fixed = values.front();
  if (!is_list) return;
  SweepAxis made{{axis}, {}};
  for (const double value : values) made.values.push_back(common::format_number(value));
  grid.axes.push_back(std::move(made));
  if (grid.points() > kMostSweepPoints)
    fail(fmt::format("the sweep has more than {} points; use fewer values", kMostSweepPoints));
}

void read_faults(const OptionParser& parser, SweepRequest& request) {
  const bool rate = parser.has("fault-rate"), density = parser.has("faults-per-mm2");
  const bool area = parser.has("pe-area-um2"), map = parser.has("fault-map");
  if (int{rate} + int{density} + int{map} > 1)
    fail("--fault-map, --fault-rate and --faults-per-mm2 exclude each other; give one of them");
  if (density && !area)
    fail("--faults-per-mm2 needs the area of a PE; add --pe-area-um2, such as --pe-area-um2 250");
  if (area && !density) fail("--pe-area-um2 goes with --faults-per-mm2; add that, or drop the area");
  if (map) request.fault_map = parser.text("fault-map");
  read_fault_option(parser, "fault-rate", 1, kRateAxis, request.faults.rate, request.grid);
  read_fault_option(parser, "faults-per-mm2", 1e9, kDensityAxis, request.faults.per_mm2, request.grid);
  read_fault_option(parser, "pe-area-um2", 1e9, kAreaAxis, request.faults.pe_area_um2, request.grid);
}

}  // namespace

int sweep_command(const std::vector<std::string>& arguments) {
  OptionParser parser(
      "kintsugi sweep --chip FILE --workload FILE --set KEY=[V1,V2,...] ... --out DIR [options]",
      "Runs a workload on a chip at every point of a grid of settings, several at a time, and writes one\n"
      "table. A value that is a list makes its key an axis of the grid; keys joined by commas take their\n"
      "values together. What is already in --out is not run again.",
      "kintsugi sweep --chip configs/chips/tpu256.yaml --workload configs/workloads/alexnet.yaml "
      "--set 'chip.array.rows,chip.array.cols=[64,128,256]' --out sweep");
  const auto text = [](const char* name) { return po::value<std::string>()->value_name(name); };
  parser.without("set");
  parser.own().add_options()                                                                           //
      ("chip", text("FILE")->required(), "chip description (configs/chips/*.yaml)")                    //
      ("workload", text("FILE")->required(), "workload description: a GEMM, a network or a topology")  //
      ("set", po::value<std::vector<std::string>>()->value_name("KEY=VALUE"),
       "override a key of a file; a list of values, like 'chip.array.rows=[64,128]', is an axis")        //
      ("fidelity", text("WORD")->default_value("functional"), "pe, cycle or functional")                 //
      ("fault-map", text("FILE"), "what is broken, at every point")                                      //
      ("fault-rate", text("R"), "sample faulty PEs at this rate, or at each of a list like [0.01,0.1]")  //
      ("faults-per-mm2", text("X"), "sample them at this density instead; or a list")                    //
      ("pe-area-um2", text("A"), "area of a PE on the die, for --faults-per-mm2; or a list")             //
      ("workers", text("N"), "points to run at a time (default: one per core)");
  if (!parser.parse(arguments)) return kExitDone;
  const CommonOptions& common = parser.common();
  if (common.out.empty()) fail("the option --out is missing (where results go); add it");

  SweepRequest request;
  request.chip = parser.text("chip");
  request.workload = parser.text("workload");
  if (parser.has("set"))
    request.grid = read_sweep_grid(parser.values()["set"].as<std::vector<std::string>>());
  read_faults(parser, request);
  if (request.grid.axes.empty())
    fail(
        "nothing is swept; give --set a list of values, like --set 'chip.array.rows=[64,128]', or use "
        "'kintsugi run' for one point");
  request.fidelity = fidelity_from(parser.text("fidelity"));
  request.seed = common.seed;
  request.data_dir = common.data_dir;
  request.out = common.out;
  const int cores = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  request.workers = read_workers(parser, cores);
  request.threads = parser.has("threads") ? common.threads : std::max(1, cores / request.workers);
  request.quiet = common.quiet;

  const Sweep sweep = run_sweep(request);
  common::write_file_atomic(common.out / "sweep.csv", sweep_csv(sweep));
  std::size_t failed = 0;
  for (const SweepPoint& point : sweep.points) failed += point.result ? 0 : 1;
  if (!common.quiet) {
    std::cout << sweep_table(sweep, isatty(STDOUT_FILENO) != 0) << "\n";
    if (failed > 0) std::cout << failed << " of " << sweep.points.size() << " points failed\n";
    std::cout << "results in " << (common.out / "sweep.csv").string() << "\n";
  }
  // Were all of them wrong input, run_sweep would have thrown.
  if (failed == sweep.points.size()) return kExitInternal;
  return failed > 0 ? kExitNo : kExitDone;
}

}  // namespace kintsugi::sim

#include "sim/sweep.h"

#include <fmt/format.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <system_error>

#include "common/diagnostics.h"
#include "common/files.h"
#include "common/sha256.h"
#include "common/text.h"
#include "faults/fault_map_io.h"
#include "faults/sampler.h"
#include "sim/execution.h"
#include "sim/folder_lock.h"
#include "sim/task_executor.h"
#include "workloads/layer_report.h"

namespace kintsugi::sim {
namespace {

namespace fs = std::filesystem;
using common::InputError;

// Digests of files, each read once.
class Digests {
 public:
  std::string of(const fs::path& file) {
    const auto found = known_.find(file);
    if (found != known_.end()) return found->second;
    return known_[file] = common::sha256_file(file);
  }

 private:
  std::map<fs::path, std::string> known_;
};

struct Job {
  ExecutionRequest request;
  std::string digest;  // of everything the result depends on
};

SweepFaults faults_of(const SweepRequest& sweep, const std::vector<std::size_t>& numbers) {
  SweepFaults faults = sweep.faults;
  for (std::size_t i = 0; i < sweep.grid.axes.size(); ++i) {
    const SweepAxis& axis = sweep.grid.axes[i];
    const auto value = [&] { return common::parse_real(axis.values[numbers[i]]); };
    if (axis.keys[0] == kRateAxis) faults.rate = value();
    if (axis.keys[0] == kDensityAxis) faults.per_mm2 = value();
    if (axis.keys[0] == kAreaAxis) faults.pe_area_um2 = value();
  }
  return faults;
}

bool is_fault_axis(const SweepAxis& axis) {
  return axis.keys[0] == kRateAxis || axis.keys[0] == kDensityAxis || axis.keys[0] == kAreaAxis;
}

std::optional<faults::FaultMap> sample_faults(const SweepFaults& faults, const configs::ChipConfig& chip,
                                              std::uint64_t seed) {
  if (!faults.rate && !faults.per_mm2) return std::nullopt;
  faults::SampleSpec spec;
  spec.chip = chip.name;
  spec.rows = chip.array.rows;
  spec.cols = chip.array.cols;
  spec.accumulator_bits = chip.array.accumulator_bits;
  spec.seed = seed;
  spec.rate = faults.rate ? *faults.rate : *faults.per_mm2 * *faults.pe_area_um2 * 1e-6;
  if (spec.rate > 1)
    throw InputError(
        fmt::format("{} faults per mm2 on PEs of {} um2 are {} faults per PE; at most 1 is "
                    "possible, so lower one of the two",
                    common::format_number(*faults.per_mm2), common::format_number(*faults.pe_area_um2),
                    common::format_number(spec.rate)));
  return faults::sample(spec);
}

// Throws InputError if a file of the point is wrong.
Job prepare(const SweepRequest& sweep, const std::vector<std::size_t>& numbers, Digests& digests) {
  Job job;
  ExecutionRequest& request = job.request;
  request.overrides = sweep.grid.fixed;
  for (std::size_t i = 0; i < sweep.grid.axes.size(); ++i) {
    const SweepAxis& axis = sweep.grid.axes[i];
    if (is_fault_axis(axis)) continue;
    for (const std::string& key : axis.keys) request.overrides.push_back({key, axis.values[numbers[i]]});
  }
  request.chip = configs::read_chip(sweep.chip, request.overrides);
  request.workload = configs::read_workload(sweep.workload, request.overrides);
  request.fidelity = sweep.fidelity;
  request.threads = sweep.threads;
  request.data_dir = sweep.data_dir;
  request.reference_accuracies = false;
  const configs::ArrayConfig& array = request.chip.array;
  const faults::ArrayGeometry geometry{array.rows, array.cols, array.accumulator_bits};
  request.fault_map = sweep.fault_map ? faults::read_fault_map(*sweep.fault_map, geometry, request.overrides)
                                      : sample_faults(faults_of(sweep, numbers), request.chip, sweep.seed);

  std::string all =
      fmt::format("kintsugi {}\nfidelity {}\n", KINTSUGI_VERSION, configs::to_string(sweep.fidelity));
  for (const configs::Override& change : request.overrides) all += change.key + "=" + change.value + "\n";
  // Sampled maps are part of what is hashed, so that the seed need not be: it changes nothing else.
  if (request.fault_map) all += faults::fault_map_yaml(*request.fault_map);
  const auto add = [&](const char* what, const fs::path& file) {
    all += fmt::format("{} {}\n", what, digests.of(file));
  };
  add("chip", sweep.chip);
  add("workload", sweep.workload);
  if (request.chip.timing) {
    const configs::TimingConfig& timing = *request.chip.timing;
    if (const auto* netlist = std::get_if<configs::NetlistTiming>(&timing.model))
      add("netlist", netlist->netlist);
    if (const auto* table = std::get_if<configs::TableTiming>(&timing.model)) add("table", table->table);
    if (const auto* measured = std::get_if<configs::MeasuredVariation>(&timing.variation))
      add("delay_map", measured->delay_map);
  }
  if (request.chip.fault_map && !request.fault_map) add("fault_map", *request.chip.fault_map);
  if (request.chip.bypass_map) add("bypass_map", *request.chip.bypass_map);
  if (request.workload.gemm) {
    add("activations", request.workload.gemm->activations);
    add("weights", request.workload.gemm->weights);
  } else if (request.workload.topology) {
    add("topology", request.workload.topology->topology);
  } else {
    const configs::NetworkWorkload& network = *request.workload.network;
    add("network", network.network);
    // What is random follows from the seeds in the workload file and the overrides.
    if (!network.random_weights) add("weights", network.weights);
    all += fmt::format("dataset {}\n", network.dataset.name);
    if (network.dataset.name.empty() && !network.dataset.random) {
      add("images", network.dataset.images);
      add("labels", network.dataset.labels);
    }
  }
  job.digest = common::sha256(all).substr(0, 32);
  return job;
}

// ---- A point's file ----

std::string to_json(const SweepResult& result) {
  nlohmann::ordered_json json;
  json["cycles"] = result.cycles;
  json["stall_cycles"] = result.stall_cycles;
  json["macs"] = result.macs;
  json["utilization"] = result.utilization;
  json["time_us"] = result.time_us;
  if (result.accuracy) json["accuracy"] = *result.accuracy;
  json["fault_rate"] = result.fault_rate;
  json["mapped_fault_rate"] = result.mapped_fault_rate;
  json["stall_weights_cycles"] = result.stall_weights;
  json["stall_activations_cycles"] = result.stall_activations;
  json["stall_accumulators_cycles"] = result.stall_accumulators;
  json["stall_output_cycles"] = result.stall_output;
  if (result.dram_read_bytes) json["dram_read_bytes"] = *result.dram_read_bytes;
  if (result.dram_write_bytes) json["dram_write_bytes"] = *result.dram_write_bytes;
  json["tops"] = result.tops;
  if (result.energy_uj) json["energy_uj"] = *result.energy_uj;
  if (result.timing)
    json["timing"] = {{"late_words", result.timing->late_words},
                      {"dropped_products", result.timing->dropped_products},
                      {"flipped_bits", result.timing->flipped_bits}};
  return json.dump(1) + "\n";
}

// Absent if there is no readable file.
std::optional<SweepResult> read_point(const fs::path& file) {
  if (!fs::exists(file)) return std::nullopt;
  try {
    const auto json = nlohmann::json::parse(common::read_file(file));
    SweepResult result;
    result.cycles = json.at("cycles").get<std::int64_t>();
    result.stall_cycles = json.at("stall_cycles").get<std::int64_t>();
    result.macs = json.at("macs").get<std::int64_t>();
    result.utilization = json.at("utilization").get<double>();
    result.time_us = json.at("time_us").get<double>();
    if (json.contains("accuracy")) result.accuracy = json.at("accuracy").get<double>();
    result.fault_rate = json.at("fault_rate").get<double>();
    result.mapped_fault_rate = json.at("mapped_fault_rate").get<double>();
    result.stall_weights = json.at("stall_weights_cycles").get<std::int64_t>();
    result.stall_activations = json.at("stall_activations_cycles").get<std::int64_t>();
    result.stall_accumulators = json.at("stall_accumulators_cycles").get<std::int64_t>();
    result.stall_output = json.at("stall_output_cycles").get<std::int64_t>();
    if (json.contains("dram_read_bytes"))
      result.dram_read_bytes = json.at("dram_read_bytes").get<std::int64_t>();
    if (json.contains("dram_write_bytes"))
      result.dram_write_bytes = json.at("dram_write_bytes").get<std::int64_t>();
    result.tops = json.at("tops").get<double>();
    if (json.contains("energy_uj")) result.energy_uj = json.at("energy_uj").get<double>();
    if (json.contains("timing")) {
      const auto& timing = json.at("timing");
      result.timing = array::TimingCounts{timing.at("late_words").get<std::int64_t>(),
                                          timing.at("dropped_products").get<std::int64_t>(),
                                          timing.at("flipped_bits").get<std::int64_t>()};
    }
    return result;
  } catch (const nlohmann::json::exception&) {
    return std::nullopt;
  }
}

SweepResult summarise(const ExecutionRequest& request, const ExecutionResult& execution) {
  SweepResult result;
  const workloads::LayerReport total = workloads::total_of(execution.layers, request.chip);
  const workloads::LayerFigures figures = workloads::figures_of(total, request.chip);
  result.cycles = total.cycles;
  result.stall_cycles = total.stall_cycles;
  result.macs = total.macs;
  result.utilization = total.utilization;
  result.mapped_fault_rate = total.mapped_fault_rate;
  result.time_us = static_cast<double>(total.cycles) / request.chip.clock_mhz;
  result.stall_weights = total.breakdown.stall_weights;
  result.stall_activations = total.breakdown.stall_activations;
  result.stall_accumulators = total.breakdown.stall_accumulators;
  result.stall_output = total.breakdown.stall_output;
  if (request.chip.memory) {
    result.dram_read_bytes = total.traffic.dram_weight_bytes + total.traffic.dram_activation_bytes;
    result.dram_write_bytes = total.traffic.dram_output_bytes;
  }
  result.tops = figures.tops;
  if (figures.energy) result.energy_uj = figures.energy->total();
  if (request.chip.timing) result.timing = total.timing;
  result.accuracy = execution.accuracy;
  result.fault_rate = execution.fault_report.fault_rate;
  return result;
}

// ---- Running ----

// Where children leave what went wrong: a letter for the kind, then the message.
constexpr char kBadInput = 'I';
constexpr char kFailure = 'F';

fs::path point_file(const fs::path& points, const Job& job) {
  return points / (job.digest + ".json");
}
fs::path problem_file(const fs::path& points, const Job& job) {
  return points / (job.digest + ".problem");
}

[[noreturn]] void child(const Job& job, const fs::path& points) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  int status = 0;
  try {
    try {
      common::write_file_atomic(point_file(points, job),
                                to_json(summarise(job.request, execute(job.request))));
    } catch (const InputError& problem) {
      common::write_file_atomic(problem_file(points, job), kBadInput + std::string(problem.what()));
    } catch (const std::exception& problem) {
      common::write_file_atomic(problem_file(points, job), kFailure + std::string(problem.what()));
    }
  } catch (const std::exception& problem) {
    fmt::print(stderr, "{}\n", problem.what());
    status = 1;
  }
  std::cout.flush();
  std::fflush(nullptr);
  // Skips the destructors of a large grid of modules, which take longer than its simulation.
  std::_Exit(status);
}

// A process of its own, because SystemC elaborates once per process, and a crash must not take others along.
void run_point(const Job& job, const fs::path& points) {
  std::cout.flush();
  std::fflush(nullptr);
  const pid_t pid = ::fork();
  if (pid < 0) throw std::system_error(errno, std::generic_category(), "cannot start a process");
  if (pid == 0) child(job, points);
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0)
    if (errno != EINTR) throw std::system_error(errno, std::generic_category(), "cannot wait for a process");
  if (status == 0) return;
  const std::string how = WIFSIGNALED(status)
                              ? fmt::format("the simulation was ended by signal {} ({})", WTERMSIG(status),
                                            ::strsignal(WTERMSIG(status)))
                              : std::string("the simulation left no result (is the disk full?)");
  common::write_file_atomic(problem_file(points, job), kFailure + how);
}

std::string name_of(const Sweep& sweep, const SweepPoint& point) {
  std::string name;
  for (std::size_t i = 0; i < sweep.columns.size(); ++i)
    name += fmt::format("{}{}={}", name.empty() ? "" : ", ", sweep.columns[i], point.values[i]);
  return name.empty() ? "the only point" : name;
}

// Each distinct problem once, with the points that have it.
std::string problems_text(const Sweep& sweep) {
  std::vector<std::pair<std::string, std::vector<const SweepPoint*>>> problems;
  for (const SweepPoint& point : sweep.points) {
    if (point.problem.empty()) continue;
    auto known = std::find_if(problems.begin(), problems.end(),
                              [&](const auto& one) { return one.first == point.problem; });
    if (known == problems.end()) known = problems.insert(problems.end(), {point.problem, {}});
    known->second.push_back(&point);
  }
  std::string text;
  for (const auto& [problem, points] : problems) {
    text += fmt::format("{}{}\n", text.empty() ? "" : "\n", problem);
    if (points.size() == sweep.points.size() && points.size() > 1)
      text += "  at every point of the sweep";
    else
      text += fmt::format("  at {}", name_of(sweep, *points[0]));
    if (points.size() > 1 && points.size() < sweep.points.size())
      text += fmt::format(" and {} more", points.size() - 1);
  }
  return text;
}

void refuse_if_all_are_bad(const Sweep& sweep) {
  for (const SweepPoint& point : sweep.points)
    if (!point.bad_input) return;
  throw InputError(problems_text(sweep));
}

}  // namespace

Sweep run_sweep(const SweepRequest& request) {
  Sweep sweep;
  for (const SweepAxis& axis : request.grid.axes)
    sweep.columns.insert(sweep.columns.end(), axis.keys.begin(), axis.keys.end());

  Digests digests;
  std::vector<std::optional<Job>> jobs;
  for (std::int64_t i = 0; i < request.grid.points(); ++i) {
    const std::vector<std::size_t> numbers = request.grid.at(i);
    SweepPoint point;
    for (std::size_t a = 0; a < numbers.size(); ++a) {
      const SweepAxis& axis = request.grid.axes[a];
      point.values.insert(point.values.end(), axis.keys.size(), axis.values[numbers[a]]);
    }
    jobs.emplace_back();
    try {
      jobs.back() = prepare(request, numbers, digests);
    } catch (const InputError& problem) {
      point.problem = problem.what();
      point.bad_input = true;
    }
    sweep.points.push_back(std::move(point));
  }
  refuse_if_all_are_bad(sweep);

  const FolderLock lock(request.out);
  const fs::path points = request.out / "points";
  std::vector<Task> tasks;
  std::vector<const Job*> waiting;
  std::set<std::string> listed;
  for (std::size_t i = 0; i < jobs.size(); ++i) {
    if (!jobs[i] || !listed.insert(jobs[i]->digest).second) continue;
    std::error_code ignored;
    fs::remove(problem_file(points, *jobs[i]), ignored);
    if (read_point(point_file(points, *jobs[i]))) continue;
    tasks.push_back({name_of(sweep, sweep.points[i])});
    waiting.push_back(&*jobs[i]);
  }
  ExecutorOptions options;
  options.workers = request.workers;
  options.label = "sweep";
  options.unit = "points";
  if (request.quiet) options.progress = common::ProgressOutput::none;
  run_tasks(
      tasks,
      [&]() -> RunTask {
        return [&](std::size_t task, const std::function<void(std::int64_t)>&) {
          run_point(*waiting[task], points);
        };
      },
      options);

  for (std::size_t i = 0; i < jobs.size(); ++i) {
    if (!jobs[i]) continue;
    SweepPoint& point = sweep.points[i];
    point.result = read_point(point_file(points, *jobs[i]));
    if (point.result) continue;
    const fs::path file = problem_file(points, *jobs[i]);
    const std::string text = fs::exists(file) ? common::read_file(file) : "";
    point.bad_input = text.starts_with(kBadInput);
    point.problem = text.empty() ? "the simulation left no result" : text.substr(1);
  }
  for (const auto& job : jobs) {
    std::error_code ignored;
    if (job) fs::remove(problem_file(points, *job), ignored);
  }
  refuse_if_all_are_bad(sweep);
  const std::string problems = problems_text(sweep);
  if (!problems.empty()) fmt::print(stderr, "{}\n", problems);
  return sweep;
}

}  // namespace kintsugi::sim

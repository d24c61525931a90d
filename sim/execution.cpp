#include "sim/execution.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <memory>
#include <span>
#include <utility>

#include "array/functional_accelerator.h"
#include "common/sha256.h"
#include "common/thread_pool.h"
#include "configs/network.h"
#include "faults/fault_map_io.h"
#include "sim/host.h"
#include "sim/timeline.h"
#include "sim/timing_watch.h"
#include "sim/topology_execution.h"
#include "workloads/deployed.h"
#include "workloads/float_forward.h"
#include "workloads/npy.h"
#include "workloads/pruning_mask.h"
#include "workloads/safetensors.h"

namespace kintsugi::sim {
namespace {

using common::InputError;

// Images per pass where only accuracies count.
constexpr std::int64_t kReferenceBatch = 200;

// ---- Faults and bypass ----

struct Faults {
  faults::FaultMap physical;
  std::optional<faults::FaultMap> bypass_map;
};

faults::FaultMap empty_map(const configs::ChipConfig& chip) {
  faults::FaultMap map;
  map.chip = chip.name;
  map.rows = chip.array.rows;
  map.cols = chip.array.cols;
  return map;
}

Faults read_faults(const ExecutionRequest& request) {
  const configs::ChipConfig& chip = request.chip;
  const faults::ArrayGeometry geometry{chip.array.rows, chip.array.cols, chip.array.accumulator_bits};
  Faults read;
  if (request.fault_map) {
    read.physical = *request.fault_map;
  } else if (chip.fault_map) {
    read.physical = faults::read_fault_map(*chip.fault_map, geometry, request.overrides);
  } else {
    read.physical = empty_map(chip);
  }
  if (request.no_bypass && request.bypass_map) {
    throw InputError("a bypass map and 'no bypass' are both asked for; choose one");
  }
  if (request.bypass_map) {
    read.bypass_map = request.bypass_map;
  } else if (chip.bypass_map && !request.no_bypass) {
    read.bypass_map = faults::read_fault_map(*chip.bypass_map, geometry, request.overrides);
  }
  if (read.bypass_map && chip.array.bypass == configs::Bypass::none) {
    throw InputError({chip.file.string()},
                     "the chip has 'bypass: none', but a bypass map is given; drop the map or give the chip "
                     "'bypass: fap'");
  }
  return read;
}

// A bypass map that names exactly the PEs whose bit is set.
faults::FaultMap map_of_bits(const std::vector<std::uint8_t>& bits, const configs::ChipConfig& chip) {
  faults::FaultMap map = empty_map(chip);
  for (int row = 0; row < map.rows; ++row) {
    for (int col = 0; col < map.cols; ++col) {
      if (bits[static_cast<std::size_t>(row) * map.cols + col] == 0) continue;
      faults::Fault fault;
      fault.row = row;
      fault.col = col;
      map.faults.push_back(fault);
    }
  }
  return map;
}

// `recorded`: the bypass bits a deployed network was made for; empty if there are none.
faults::ArrayFaults compile_faults(const ExecutionRequest& request, const Faults& read,
                                   const std::vector<std::uint8_t>& recorded) {
  const configs::ArrayConfig& array = request.chip.array;
  faults::BypassSource source = faults::BypassSource::fault_map;
  std::optional<faults::FaultMap> bypass = read.bypass_map;
  if (request.no_bypass || array.bypass == configs::Bypass::none) {
    source = faults::BypassSource::none;
  } else if (bypass) {
    source = faults::BypassSource::bypass_map;
  } else if (!recorded.empty()) {
    bypass = map_of_bits(recorded, request.chip);
    source = faults::BypassSource::bypass_map;
  }
  faults::ArrayFaults compiled = faults::compile(read.physical, source, bypass ? &*bypass : nullptr,
                                                 array.rows, array.cols, array.accumulator_bits);
  if (!recorded.empty() && compiled.bypass != recorded) {
    std::int64_t differ = 0;
    for (std::size_t pe = 0; pe < recorded.size(); ++pe) differ += compiled.bypass[pe] != recorded[pe];
    spdlog::warn(
        "the deployed network was made for another bypass: {} PEs differ from what is asked for here",
        differ);
  }
  return compiled;
}

// ---- The device ----

// What every kind of workload runs with.
struct Bench {
  common::ThreadPool& pool;
  WaveformWriter* waveform = nullptr;  // may be null
  TimelineWriter* timeline = nullptr;  // may be null

  workloads::LayerHooks hooks() const {
    if (timeline == nullptr) return {};
    return {[writer = timeline](const std::string& layer) { writer->begin_layer(layer); },
            [writer = timeline](std::int64_t cycles) { writer->end_layer(cycles); },
            {}};
  }
  array::TimelineSink sink() const {
    if (timeline == nullptr) return {};
    return [writer = timeline](const array::TimelineEvent& event) { (*writer)(event); };
  }
};

// SystemC cannot elaborate twice in a process, so nothing is gained by taking a platform down, and a large
// grid of modules takes longer to destroy than to simulate: it stays until the process ends. The static
// pointer only keeps it reachable, so that leak checkers see that this is meant.
TlmAccelerator& build_platform(const ExecutionRequest& request, const Bench& bench,
                               std::uint64_t memory_bytes = TlmAccelerator::kDefaultMemory) {
  static TlmAccelerator* standing = nullptr;
  standing =
      std::make_unique<TlmAccelerator>(request.chip, request.fidelity, &bench.pool, memory_bytes).release();
  TlmAccelerator& device = *standing;
  if (bench.waveform != nullptr) {
    device.observe([waveform = bench.waveform](const array::ClockedArray& array, std::int64_t cycle) {
      waveform->sample(array, cycle);
    });
  }
  if (bench.timeline != nullptr) device.observe_timeline(bench.sink());
  return device;
}

// ---- GEMM ----

workloads::Tensor<std::int8_t> read_matrix(const std::filesystem::path& file, const char* what) {
  auto tensor = workloads::read_npy<std::int8_t>(file);
  if (tensor.shape.size() != 2 || tensor.count() == 0) {
    std::string shape;
    for (const std::int64_t size : tensor.shape) shape += fmt::format("{}{}", shape.empty() ? "" : "x", size);
    throw InputError({file.string()}, fmt::format("{} must be a matrix with at least one element; this array "
                                                  "has shape ({})",
                                                  what, shape));
  }
  return tensor;
}

// Share of a K×N matrix's weights on bypassed PEs.
double mapped_rate(std::int64_t k, std::int64_t n, const faults::ArrayFaults& faults) {
  std::int64_t mapped = 0;
  for (int r = 0; r < faults.rows && r < k; ++r) {
    for (int c = 0; c < faults.cols && c < n; ++c) {
      if (!faults.bypassed(r, c)) continue;
      mapped += ((k - r - 1) / faults.rows + 1) * ((n - c - 1) / faults.cols + 1);
    }
  }
  return static_cast<double>(mapped) / (static_cast<double>(k) * static_cast<double>(n));
}

void run_gemm(const ExecutionRequest& request, const Faults& read, const Bench& bench,
              ExecutionResult& result) {
  const configs::GemmWorkload& files = *request.workload.gemm;
  const auto activations = read_matrix(files.activations, "activations");
  const auto weights = read_matrix(files.weights, "weights");
  const std::int64_t m = activations.shape[0], k = activations.shape[1], n = weights.shape[1];
  if (weights.shape[0] != k) {
    throw InputError(
        fmt::format("{}: error: activations of {}x{} need weights with {} rows, but {} is {}x{}; activations "
                    "are M x K and "
                    "weights K x N",
                    files.activations.string(), m, k, k, files.weights.string(), weights.shape[0], n));
  }
  result.faults = compile_faults(request, read, {});

  const array::LayerShape shape = array::gemm_shape(m, k, n);
  const auto aligned = [](std::int64_t bytes) { return (static_cast<std::uint64_t>(bytes) + 63) / 64 * 64; };
  const array::DeviceAddress at_weights = aligned(shape.activation_bytes());
  const array::DeviceAddress at_output = at_weights + aligned(shape.weight_bytes());
  const std::uint64_t needed = at_output + aligned(4 * shape.outputs());
  TlmAccelerator& device = build_platform(request, bench, std::max(needed, TlmAccelerator::kDefaultMemory));
  TimingWatch watched(device, request, result.faults, bench.pool);
  device.data_to_device(0, array::as_device_bytes(std::span(activations.data)));
  device.data_to_device(at_weights, array::as_device_bytes(std::span(weights.data)));
  array::LayerLaunch launch;
  launch.shape = shape;
  launch.weights = at_weights;
  launch.output = at_output;
  workloads::LayerReport layer;
  layer.layer = "gemm";
  layer.m = m;
  layer.k = k;
  layer.n = n;
  layer.mapped_fault_rate = mapped_rate(k, n, result.faults);
  const workloads::LayerHooks hooks = watched.hooks(bench.hooks());
  if (hooks.begin) hooks.begin(layer.layer);
  workloads::add_launch(layer, launch, device.launch(launch), request.chip);
  if (hooks.end) hooks.end(layer.cycles);
  if (hooks.launched) hooks.launched(launch);
  result.layers = {layer};
  watched.finish(result);
  result.output = workloads::Tensor<std::int32_t>({m, n});
  const auto bytes = std::as_writable_bytes(std::span(result.output.data));
  device.data_from_device(at_output, bytes);
  result.layer_digests = {common::sha256({reinterpret_cast<const char*>(bytes.data()), bytes.size()})};
}

// ---- Networks ----

// Weights ready for this chip and for the fault-free one.
struct Prepared {
  workloads::DeployedNetwork here;
  workloads::DeployedNetwork fault_free;
  std::optional<workloads::Parameters> parameters;  // if the file holds float weights
};

// Random images have no classes, so no accuracies either.
bool measures_references(const ExecutionRequest& request) {
  return request.reference_accuracies && !request.workload.network->dataset.random;
}

void check_recorded_size(const workloads::DeployedNetwork& deployed, const ExecutionRequest& request) {
  const configs::ArrayConfig& array = request.chip.array;
  if (deployed.bypass.empty() || (deployed.rows == array.rows && deployed.cols == array.cols)) return;
  throw InputError({request.workload.network->weights.string()},
                   fmt::format("was deployed for an array of {}x{}, but the chip '{}' has {}x{}",
                               deployed.rows, deployed.cols, request.chip.name, array.rows, array.cols));
}

// What activation scales are measured on: training images, or the images that are run if there are no others.
workloads::ImageSet calibration_images(const ExecutionRequest& request, const workloads::Network& network) {
  const configs::NetworkWorkload& workload = *request.workload.network;
  if (workload.dataset.random) return workloads::random_image_set(*workload.dataset.random, network);
  configs::DatasetConfig training = workload.dataset;
  training.images_limit.reset();  // that many images are run, not calibrated on
  if (training.name.empty()) {
    spdlog::warn(
        "the data set has no training images of its own: activation scales come from the images that "
        "are run");
  }
  workloads::ImageSet images = workloads::load_dataset(training, configs::Split::train, request.data_dir);
  workloads::check_dataset(images, network, workload.dataset.where);
  return images;
}

Prepared prepare(const ExecutionRequest& request, const Faults& read, const workloads::Network& network,
                 common::ThreadPool& pool, ExecutionResult& result) {
  const configs::NetworkWorkload& workload = *request.workload.network;
  Prepared prepared;
  if (!workload.random_weights && workloads::is_deployed(workload.weights)) {
    prepared.here = workloads::read_deployed(workload.weights, network);
    check_recorded_size(prepared.here, request);
    result.faults = compile_faults(request, read, prepared.here.bypass);
    if (measures_references(request)) prepared.fault_free = prepared.here;
    return prepared;
  }
  if (workload.random_weights) {
    prepared.parameters = workloads::random_weights(network, *workload.random_weights);
  } else {
    prepared.parameters = workloads::read_parameters(workload.weights);
    workloads::check_parameters(network, *prepared.parameters, workload.weights.string());
  }
  result.faults = compile_faults(request, read, {});

  const workloads::ImageSet images = calibration_images(request, network);
  configs::QuantizationConfig quantization;
  quantization.images = std::min(workload.calibration_images, images.size());
  const auto scales = workloads::calibrate(network, *prepared.parameters, images, quantization, &pool);
  const bool prunes = std::ranges::any_of(result.faults.bypass, [](auto bit) { return bit != 0; });
  const auto masks =
      prunes ? workloads::pruning_masks(network, result.faults, request.chip) : workloads::Masks{};
  prepared.here = workloads::deploy(network, *prepared.parameters, scales, masks);
  if (measures_references(request)) {
    prepared.fault_free = workloads::deploy(network, *prepared.parameters, scales);
  }
  return prepared;
}

double fault_free_accuracy(const ExecutionRequest& request, const workloads::Network& network,
                           const workloads::DeployedNetwork& deployed, const workloads::ImageSet& images,
                           common::ThreadPool& pool) {
  // The same bits at every fidelity and with any memory, so the fastest are asked.
  configs::ChipConfig chip = request.chip;
  chip.memory.reset();
  chip.timing.reset();
  array::FunctionalAccelerator device(chip, &pool);
  const auto none = faults::fault_free(request.chip.array.rows, request.chip.array.cols);
  device.load_faults(none);
  const auto run =
      workloads::infer(device, network, deployed, images, std::min(kReferenceBatch, images.size()), none);
  return workloads::accuracy(run.predicted, images.labels);
}

void run_network(const ExecutionRequest& request, const Faults& read, const Bench& bench,
                 ExecutionResult& result) {
  common::ThreadPool& pool = bench.pool;
  const configs::NetworkWorkload& workload = *request.workload.network;
  auto network = workloads::build_network(configs::read_network(workload.network, request.overrides));
  if (!workload.random_weights && workloads::is_deployed(workload.weights))
    if (const auto placement = workloads::read_placement(workload.weights, network))
      network = workloads::placed(network, *placement);
  const workloads::ImageSet images =
      workload.dataset.random
          ? workloads::random_image_set(*workload.dataset.random, network)
          : workloads::load_dataset(workload.dataset, workload.dataset.split, request.data_dir);
  workloads::check_dataset(images, network, workload.dataset.where);
  Prepared prepared = prepare(request, read, network, pool, result);
  if (!measures_references(request)) prepared.parameters.reset();  // large, and not needed any more

  TlmAccelerator& device = build_platform(request, bench);
  TimingWatch watched(device, request, result.faults, pool);
  std::vector<common::Sha256> digests(network.stages.size());
  workloads::InferenceResult run = workloads::infer(
      device, network, prepared.here, images, std::min(workload.batch, images.size()), result.faults,
      [&](std::size_t stage, std::span<const std::byte> raw) { digests[stage].add(raw); },
      watched.hooks(bench.hooks()));
  result.layers = std::move(run.layers);
  watched.finish(result);
  result.logits = std::move(run.logits);
  if (!workload.dataset.random) result.accuracy = workloads::accuracy(run.predicted, images.labels);
  result.predicted = std::move(run.predicted);
  for (common::Sha256& digest : digests) result.layer_digests.push_back(digest.finish());

  if (!measures_references(request)) return;
  result.fault_free_accuracy = fault_free_accuracy(request, network, prepared.fault_free, images, pool);
  if (prepared.parameters) {
    result.float_accuracy = workloads::accuracy(
        workloads::float_predictions(network, *prepared.parameters, images, &pool), images.labels);
  }
}

// ---- Topologies ----

void run_topology(const ExecutionRequest& request, const Faults& read, const Bench& bench,
                  ExecutionResult& result) {
  result.faults = compile_faults(request, read, {});
  const auto layers = workloads::read_topology(request.workload.topology->topology);
  if (request.fidelity == configs::Fidelity::functional) {
    result.layers = topology_costs(layers, request.chip, result.faults, bench.hooks(), bench.sink());
    return;
  }
  const std::uint64_t needed = topology_memory(layers, request.workload.topology->topology);
  TlmAccelerator& device = build_platform(request, bench, std::max(needed, TlmAccelerator::kDefaultMemory));
  device.load_faults(result.faults);
  result.layers = measure_topology(layers, device, result.faults, bench.hooks());
}

}  // namespace

ExecutionResult execute(const ExecutionRequest& request) {
  common::ThreadPool pool(request.threads);
  const Faults read = read_faults(request);
  ExecutionResult result;
  std::optional<WaveformWriter> waveform;
  if (request.waveform) waveform.emplace(*request.waveform);
  std::optional<TimelineWriter> timeline;
  if (request.timeline) timeline.emplace(request.chip.clock_mhz);
  const Bench bench{pool, waveform ? &*waveform : nullptr, timeline ? &*timeline : nullptr};
  if (request.workload.gemm) {
    run_gemm(request, read, bench, result);
  } else if (request.workload.topology) {
    run_topology(request, read, bench, result);
  } else {
    run_network(request, read, bench, result);
  }
  if (waveform) result.waveform_cycles = waveform->finish();
  if (timeline) {
    timeline->finish(*request.timeline, request.chip.name);
    result.timeline_events = timeline->events();
  }
  for (const workloads::LayerReport& layer : result.layers) {
    result.cycles += layer.cycles;
    result.stall_cycles += layer.stall_cycles;
  }
  result.fault_report = faults::make_report(read.physical, result.faults.bypass);
  return result;
}

}  // namespace kintsugi::sim

// What repairing one chip costs beside one SGD step of retraining it: mapping, compensation and batch-norm
// recalibration, each alone, on chips with i.i.d. faulty PEs. Weights and images are random; the time does
// not depend on them.
//
// Arguments: faulty PEs in percent, calibration images. The counter steps is the arithmetic in steps of
// retraining; what is done once for all chips happens before the clock starts.
#include <benchmark/benchmark.h>

#include <string>

#include "common/random.h"
#include "common/thread_pool.h"
#include "configs/chip.h"
#include "configs/network.h"
#include "training/reduce/chip_bench.h"
#include "workloads/float_forward.h"

namespace kintsugi {
namespace {

const std::string kSource = KINTSUGI_SOURCE_DIR;

struct Scene {
  configs::ChipConfig chip;
  workloads::Network network;
  workloads::ImageSet images;
  workloads::Parameters weights;
  workloads::ActivationScales scales;
  common::ThreadPool pool{1};

  explicit Scene(const std::string& name)
      : network(workloads::build_network(
            configs::read_network(kSource + "/configs/networks/" + name + ".yaml"))) {
    chip.convolution = configs::ConvolutionMapping::channel;
    configs::RandomImages config;
    config.images = 1000;
    images = workloads::random_image_set(config, network);
    weights = workloads::random_weights(network, 1);
    scales = workloads::calibrate(network, weights, images.first(100), {}, &pool);
  }

  faults::ArrayFaults faults(double rate, std::uint64_t seed) const {
    faults::ArrayFaults faults = faults::fault_free(chip.array.rows, chip.array.cols);
    common::RandomStream random(seed, "bench-bypass");
    for (auto& bit : faults.bypass) bit = random.uniform(0, 1) < rate ? 1 : 0;
    return faults;
  }

  training::reduce::BenchInputs inputs(const configs::RepairConfig& repair) const {
    training::reduce::BenchInputs inputs{&chip, &network, &images, {}, configs::Forward::chip, 1, repair};
    inputs.sgd.learning_rate = 1e-6;
    return inputs;
  }
};

void repair(benchmark::State& state, const std::string& network, const configs::RepairConfig& config) {
  Scene scene(network);
  training::reduce::ChipBench bench(scene.inputs(config), scene.pool);
  const auto faults = scene.faults(0.01 * static_cast<double>(state.range(0)), 1);
  bench.insert_chip(faults);
  bench.repair(scene.weights, scene.scales);  // and what all chips share
  for (auto _ : state) {
    bench.insert_chip(faults);
    benchmark::DoNotOptimize(bench.repair(scene.weights, scene.scales));
  }
  state.counters["steps"] = bench.repair_steps().total();
}

void map(benchmark::State& state, const std::string& network, bool spare_columns) {
  configs::RepairConfig config;
  config.mapping = configs::MappingConfig{configs::Saliency::square, spare_columns};
  repair(state, network, config);
}

void compensate(benchmark::State& state, const std::string& network) {
  configs::RepairConfig config;
  config.compensation = configs::CompensationConfig{state.range(1), 0.01};
  repair(state, network, config);
}

void recalibrate(benchmark::State& state, const std::string& network) {
  configs::RepairConfig config;
  config.batch_norm = configs::RecalibrationConfig{state.range(1)};
  repair(state, network, config);
}

void retraining_step(benchmark::State& state, const std::string& network) {
  Scene scene(network);
  training::reduce::ChipBench bench(scene.inputs({}), scene.pool);
  bench.insert_chip(scene.faults(0.01 * static_cast<double>(state.range(0)), 1));
  constexpr std::int64_t kSteps = 10;
  const std::int64_t marks[] = {kSteps};
  for (auto _ : state)
    bench.retrain(
        scene.weights, scene.scales, "bench", training::reduce::each_of({std::begin(marks), std::end(marks)}),
        [](auto, const auto&) {}, [](auto) {});
  state.counters["step_seconds"] =
      benchmark::Counter(kSteps, benchmark::Counter::kIsIterationInvariantRate | benchmark::Counter::kInvert);
}

void rates(benchmark::internal::Benchmark* b) {
  b->ArgName("faulty_%")->Arg(5)->Arg(20)->Arg(30)->Unit(benchmark::kMillisecond);
}
void rates_and_images(benchmark::internal::Benchmark* b) {
  b->ArgNames({"faulty_%", "images"})->Unit(benchmark::kMillisecond);
  b->Args({5, 1000})->Args({20, 1000})->Args({30, 1000})->Args({20, 500})->Args({20, 250});
}
BENCHMARK_CAPTURE(retraining_step, fap_mlp, "fap_mlp")
    ->ArgName("faulty_%")
    ->Arg(20)
    ->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(map, fap_mlp, "fap_mlp", true)->Apply(rates);
BENCHMARK_CAPTURE(compensate, fap_mlp, "fap_mlp")->Apply(rates_and_images);
BENCHMARK_CAPTURE(retraining_step, vgg11_quarter, "vgg11_quarter_cifar10")
    ->ArgName("faulty_%")
    ->Arg(20)
    ->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(map, vgg11_quarter, "vgg11_quarter_cifar10", false)->Apply(rates);
BENCHMARK_CAPTURE(compensate, vgg11_quarter, "vgg11_quarter_cifar10")->Apply(rates_and_images);
BENCHMARK_CAPTURE(recalibrate, vgg11_quarter, "vgg11_quarter_cifar10")
    ->ArgNames({"faulty_%", "images"})
    ->Args({20, 1000})
    ->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(map, vgg11, "vgg11_cifar10", true)->Apply(rates);
BENCHMARK_CAPTURE(compensate, vgg11, "vgg11_cifar10")->Apply(rates_and_images);

}  // namespace
}  // namespace kintsugi

BENCHMARK_MAIN();

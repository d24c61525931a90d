// Training steps of VGG11 with batch-norm on images of CIFAR-10's shape, batch 128: in float, and through the
// simulated chip. The peer is bench/peers/pytorch_vgg11.py.
//
// items_per_second counts images. One run per process tells the peak memory of one kind of step: choose it
// with --benchmark_filter; the counter peak_MB is the process's high-water mark.
#include <benchmark/benchmark.h>
#include <sys/resource.h>

#include <string>

#include "array/functional_accelerator.h"
#include "common/thread_pool.h"
#include "configs/chip.h"
#include "configs/network.h"
#include "faults/array_faults.h"
#include "training/trainer.h"
#include "workloads/deployed.h"
#include "workloads/float_forward.h"
#include "workloads/inference.h"

namespace kintsugi {
namespace {

const std::string kSource = KINTSUGI_SOURCE_DIR;
constexpr std::int64_t kImages = 512;

workloads::Network vgg11() {
  return workloads::build_network(configs::read_network(kSource + "/configs/networks/vgg11_cifar10.yaml"));
}

workloads::ImageSet random_images(const workloads::Network& network, std::int64_t count) {
  configs::RandomImages config;
  config.images = count;
  config.seed = 1;
  workloads::ImageSet images = workloads::random_image_set(config, network);
  for (std::int64_t i = 0; i < count; ++i) images.labels[i] = static_cast<std::int32_t>(i % network.classes);
  return images;
}

double peak_megabytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) / 1024;
}

enum class Forward { in_float, chip };

void train(benchmark::State& state, Forward forward, configs::Backward backward) {
  const workloads::Network network = vgg11();
  const workloads::ImageSet images = random_images(network, kImages);
  common::ThreadPool pool(static_cast<int>(state.range(0)));
  training::TrainerOptions options;
  options.sgd.augment = true;
  options.sgd.learning_rate = 0.01;
  options.sgd.backward = backward;
  const workloads::Parameters start = workloads::initial_parameters(network, 1);
  const configs::ChipConfig config;
  array::FunctionalAccelerator device(config, &pool);
  std::optional<training::ChipInTheLoop> chip;
  if (forward == Forward::chip) {
    chip =
        training::ChipInTheLoop{&device, workloads::calibrate(network, start, images.first(32), {}, &pool)};
  }
  training::Trainer trainer(network, start, images, options, {}, chip, &pool);
  trainer.step();
  for (auto _ : state) benchmark::DoNotOptimize(trainer.step());
  state.SetItemsProcessed(state.iterations() * options.sgd.batch);
  state.counters["peak_MB"] = peak_megabytes();
}

using configs::Backward;

void threads(benchmark::internal::Benchmark* b) {
  b->ArgName("threads")->Arg(1)->Arg(2)->MeasureProcessCPUTime()->UseRealTime();
}
BENCHMARK_CAPTURE(train, float_f32, Forward::in_float, Backward::f32)->Apply(threads);
BENCHMARK_CAPTURE(train, float_bf16, Forward::in_float, Backward::bf16)->Apply(threads);
BENCHMARK_CAPTURE(train, chip_f32, Forward::chip, Backward::f32)->Apply(threads);
BENCHMARK_CAPTURE(train, chip_bf16, Forward::chip, Backward::bf16)->Apply(threads);

void evaluate_in_float(benchmark::State& state) {
  const workloads::Network network = vgg11();
  const workloads::ImageSet images = random_images(network, 250);
  common::ThreadPool pool(static_cast<int>(state.range(0)));
  const workloads::Parameters weights = workloads::initial_parameters(network, 1);
  for (auto _ : state)
    benchmark::DoNotOptimize(workloads::float_predictions(network, weights, images, &pool));
  state.SetItemsProcessed(state.iterations() * images.size());
}

BENCHMARK(evaluate_in_float)->Apply(threads);

}  // namespace
}  // namespace kintsugi

BENCHMARK_MAIN();

// How time grows with faulty PEs, the array's size, the stream's length, and threads; one layer each, live
// stuck-at faults at all sites. bench/report runs every case in a process of its own, so that its memory can
// be told.
#include <benchmark/benchmark.h>

#include <string>
#include <systemc>
#include <vector>

#include "array/cycle_array.h"
#include "array/functional_engine.h"
#include "array/schedule.h"
#include "common/random.h"
#include "common/thread_pool.h"
#include "faults/sampler.h"

namespace {

using namespace kintsugi;

struct Case {
  int percent = 10;  // of the PEs are faulty
  int size = 256;    // rows and columns of the array; and K and N
  std::int64_t m = 4096;
  int threads = 1;
};

// The operands of a case and its chip.
struct Chip {
  explicit Chip(const Case& one)
      : shape(array::gemm_shape(one.m, one.size, one.size)),
        activations(random_int8(shape.activation_bytes(), "bench-activations")),
        weights(random_int8(shape.weight_bytes(), "bench-weights")),
        results(static_cast<std::size_t>(shape.outputs())),
        faults(faults::fault_free(one.size, one.size)) {
    config.rows = config.cols = one.size;
    if (one.percent == 0) return;
    faults::SampleSpec spec;
    spec.rows = spec.cols = one.size;
    spec.model = faults::SampleModel::exact;
    spec.rate = one.percent / 100.0;
    spec.sites = faults::SiteWeights{1, 1, 1, 1, 1};
    faults =
        faults::compile(faults::sample(spec), faults::BypassSource::none, nullptr, one.size, one.size, 32);
  }
  static std::vector<std::int8_t> random_int8(std::int64_t count, const char* purpose) {
    common::RandomStream random(1, purpose);
    std::vector<std::int8_t> values(static_cast<std::size_t>(count));
    for (std::int8_t& value : values) value = static_cast<std::int8_t>(random.below(256));
    return values;
  }
  array::LayerJob job() { return {shape, activations.data(), weights.data(), results.data()}; }

  array::LayerShape shape;
  std::vector<std::int8_t> activations, weights;
  std::vector<std::int32_t> results;
  configs::ArrayConfig config;
  faults::ArrayFaults faults;
};

void functional(benchmark::State& state, const Case& one) {
  Chip chip(one);
  common::ThreadPool pool(one.threads);
  array::FunctionalEngine engine(chip.config, configs::ConvolutionMapping::im2col, &pool);
  engine.load_faults(chip.faults);
  engine.run(chip.job());  // prepares the layer
  for (auto _ : state) engine.run(chip.job());
  state.counters["GMAC"] = benchmark::Counter(1e-9 * static_cast<double>(chip.shape.macs()),
                                              benchmark::Counter::kIsIterationInvariantRate);
}

void cycle(benchmark::State& state, const Case& one) {
  Chip chip(one);
  array::CycleMachine machine(chip.config);
  machine.load_faults(chip.faults);
  const array::Tiling tiling =
      array::make_tiling(chip.shape, one.size, one.size, configs::ConvolutionMapping::im2col);
  std::int64_t cycles = 0;
  for (auto _ : state) {
    machine.start(chip.job(), tiling, nullptr);
    while (!machine.done()) machine.step();
    cycles += machine.cycles();
  }
  state.SetItemsProcessed(cycles);
}

void add(const std::string& name, void (*run)(benchmark::State&, const Case&), const Case& one) {
  auto* added = benchmark::RegisterBenchmark(name.c_str(), run, one);
  added->Unit(benchmark::kMicrosecond);
  if (one.threads > 1) added->UseRealTime();
}

void register_all() {
  for (const int percent : {0, 1, 2, 5, 10, 20, 30}) {
    add("functional/faulty_%:" + std::to_string(percent), functional, {.percent = percent});
    add("cycle/faulty_%:" + std::to_string(percent), cycle, {.percent = percent, .m = 1024});
  }
  for (const int size : {32, 64, 128, 256, 512, 1024}) {
    add("functional/array:" + std::to_string(size), functional, {.size = size});
    add("cycle/array:" + std::to_string(size), cycle, {.size = size, .m = 1024});
  }
  for (const int m : {64, 256, 1024, 4096, 16384, 65536})
    add("functional/m:" + std::to_string(m), functional, {.m = m});
  for (const int m : {64, 256, 1024, 4096}) add("cycle/m:" + std::to_string(m), cycle, {.m = m});
  for (const int threads : {1, 2})
    add("functional/threads:" + std::to_string(threads), functional, {.m = 16384, .threads = threads});
}

}  // namespace

// SystemC asks for one; the clocked array is stepped without its kernel.
int sc_main(int, char**) {
  return 0;
}

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  register_all();
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
